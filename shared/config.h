/*
 * config.h: the INI file, read once into a struct that never changes.
 *
 * Reading has two steps, for the options of an extension are known only when
 * it is loaded: config_load reads everything and keeps the lines it does not
 * know; config_claim gives an extension's table its values; config_finish
 * refuses what nobody claimed.  Every error is one line "FILE:LINE: [section]
 * key: what" in the caller's buffer.  Strings live as long as the config.
 */
#ifndef SHARED_CONFIG_H
#define SHARED_CONFIG_H

#include <sys/socket.h>

#include <stdio.h>

#include "shared/base.h"
#include "shared/config_tbl.h"

#define CONFIG_ERR_MAX	1024	/* room for an error's line */
#define CONFIG_HOSTS_MAX 4096	/* distinct addresses */
#define CONFIG_LISTENS_MAX 128	/* addresses of all services */

enum config_type {
	CONFIG_INT, CONFIG_MS, CONFIG_SEC, CONFIG_MB, CONFIG_BOOL, CONFIG_ENUM,
	CONFIG_STR
};

enum config_when { CONFIG_NOW, CONFIG_RESTART, CONFIG_LATER, CONFIG_INERT };

/* A row of a table of options: the core's and, in the same form, an
 * extension's. */
struct config_option {
	const char	*key;
	enum config_type type;
	enum config_when when;
	const char	*def;
	double		 least, most;
	const char	*names;
	const char	*text;
};

struct config_value {
	int64_t		 num;	/* -1 where an INT is not given */
	const char	*str;	/* of CONFIG_STR; NULL: not given */
};

#define CONFIG_T_INT	int64_t
#define CONFIG_T_MS	int64_t
#define CONFIG_T_SEC	int64_t
#define CONFIG_T_MB	int64_t
#define CONFIG_T_BOOL	bool
#define CONFIG_T_ENUM	int
#define CONFIG_T_STR	const char *
#define CONFIG_FIELD(field, key, type, ...) CONFIG_T_##type field;

enum config_distribution {
	DISTRIBUTION_KETAMA, DISTRIBUTION_KVPROXY, DISTRIBUTION_MODULA,
	DISTRIBUTION_JUMP
};
enum config_hash {
	HASH_MD5, HASH_FNV1_64, HASH_FNV1A_64, HASH_FNV1_32, HASH_FNV1A_32,
	HASH_CRC32, HASH_CRC32A, HASH_ONE_AT_A_TIME, HASH_MURMUR
};
enum config_read_failure { READ_FAILURE_ERROR, READ_FAILURE_MISS };
enum config_failover { FAILOVER_REHASH, FAILOVER_BACKUP, FAILOVER_NONE };
enum config_rejoin { REJOIN_AS_IS, REJOIN_FLUSH };

/* An address that some group of some service uses; each once. */
struct config_addr {
	const char	*name;		/* as the file has it first */
	const char	*normal;	/* see hosts_normalize */
	struct sockaddr_storage sa;
	socklen_t	 sa_len;
};

/* An address that clients connect to. */
struct config_listen {
	const char	*name;		/* as the file has it */
	const char	*normal;	/* see hosts_normalize */
	struct sockaddr_storage sa;
	socklen_t	 sa_len;
};

struct config_host {
	const char	*name;		/* the address, as written */
	const char	*normal;	/* and as hosts_normalize would */
	const char	*node;		/* third field, NULL: none */
	unsigned	 id;
	unsigned	 weight;	/* 0: known, given no keys */
	unsigned	 addr;		/* in config.addrs, of used groups */
	unsigned	 line;
};

struct config_group {
	const char	*name;
	struct config_host *hosts;	/* in order of id */
	size_t		 n_hosts;
	unsigned	 line;
	bool		 used;		/* by some service */
};

struct config_service {
	const char	*name;		/* the section's, true case */
	unsigned	 line;
	CONFIG_SERVICE(CONFIG_FIELD)
	struct config_listen *listens;	/* at least one */
	size_t		 n_listens;
	unsigned	 socket_mode;	/* listen_mode as a number */
	const struct config_group *hosts;
	const struct config_group *backup; /* NULL: none */
	const struct config_group *read; /* NULL: none, or the same as hosts */
	struct config_value *ext_values; /* config_claim's, NULL before */
	struct config_section *section;	/* config.c's own: its lines */
};

struct config {
	const char	*path;
	CONFIG_CORE(CONFIG_FIELD)
	struct config_listen *metrics_listen; /* NULL: no metrics page */
	struct config_service *services;
	size_t		 n_services;
	struct config_group *groups;
	size_t		 n_groups;
	struct config_addr *addrs;	/* in file order */
	size_t		 n_addrs;
	struct config_file *file;	/* config.c's own: memory and lines */
};

/* Who says where hosts are that the file has by name. */
struct config_lookup {
	/* Fill ADDR's sa, for its name, which may be a number or a path too.
	 * Called once for each of config.addrs, in their order.  False: *WHY
	 * is a phrase. */
	bool		 (*find)(void *data, struct config_addr *addr,
			    const char **why);
	void		*data;
};

/* The bytes of PATH, a regular file, as they are now: a descriptor of memory
 * that nobody can change, which is the caller's.  -1: ERR (CONFIG_ERR_MAX
 * bytes) says why. */
int	 config_snapshot(const char *path, char *err) MUST_CHECK;
/* Make a configuration of the snapshot FD of PATH, which errors name.  PREFIX
 * is the installation's folder (for the defaults of log_path, pid_file,
 * ext_path and for relative paths).  LOOKUP is only used meanwhile; NULL: names
 * are looked up, which blocks.  NULL: ERR says why. */
struct config *config_parse(int fd, const char *path, const char *prefix,
	    const struct config_lookup *lookup, char *err) MUST_CHECK;
/* Both, with names looked up. */
struct config *config_load(const char *path, const char *prefix, char *err)
	    MUST_CHECK;
/* What [kvproxy] says of the core alone, for who looks for a daemon that runs
 * already: whatever is wrong in the file is passed over, and for what cannot
 * be read the defaults stand.  Nothing is looked up, there are no services.
 * NULL: out of memory. */
struct config *config_load_core(const char *path, const char *prefix)
	    MUST_CHECK;
void	 config_free(struct config **cfg);

/* Give an extension's OPTIONS their values, in SERVICE->ext_values, in the
 * order of the table, which need not live on but for its default strings.
 * False: ERR says which line is wrong. */
bool	 config_claim(struct config *cfg, struct config_service *service,
	    const struct config_option *options, size_t n, char *err)
	    MUST_CHECK;

/* After all claims: refuse unknown keys, and say through WARN, a line each,
 * which options that are set will only work in a later version, and what hosts
 * in two groups keep from being as the options say. */
bool	 config_finish(struct config *cfg, void (*warn)(const char *line),
	    char *err) MUST_CHECK;

/* CFG is to take the place of OLD in a running instance: what only a restart
 * brings keeps OLD's value, and SAY gets a line for each that differs.  False:
 * out of memory. */
bool	 config_keep_restart(struct config *cfg, const struct config *old,
	    void (*say)(const char *line)) MUST_CHECK;
/* CFG is refused for its value of the core's option KEY: that line's error in
 * ERR, or that of the file where it has no such line; always false. */
bool	 config_fail_core(const struct config *cfg, const char *key, char *err,
	    const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Every option of the core, with its default and sentence, for a person. */
void	 config_usage(FILE *out);

/* The core's tables, for the test of sample file and manual. */
const struct config_option *config_core_options(size_t *n);
const struct config_option *config_service_options(size_t *n);

/* What SERVICE has for its option KEY, whose type is ENUM or STR: the first
 * *LEN bytes, which live as long as the configuration. */
const char *config_service_word(const struct config_service *service,
	    const char *key, int *len);

#endif /* SHARED_CONFIG_H */

/*
 * config.c: the file and its lines.
 *
 * iniparser reads the values: quotes, blanks, comments.  But it lower-cases
 * keys, merges what stands twice, takes [ipv6]:port for a section and lets a
 * backslash swallow the next line.  So the lines are walked here first, and
 * it is given a text made of them: one section, keys of our own making, and a
 * comment at the end of each line.
 */
#include "shared/config.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifdef HAVE_INIPARSER_INIPARSER_H
#include <iniparser/iniparser.h>
#else
#include <iniparser.h>
#endif

#include "shared/config_int.h"

#define CONFIG_FILE_MAX		(1024 * 1024)
#define CONFIG_LINE_MAX		1000
#define CONFIG_ENTRIES_MAX	16384
#define CONFIG_SECTIONS_MAX	1024

struct config_block {
	struct config_block *next;
	_Alignas(max_align_t) char data[];
};

/* The walk over the lines. */
struct config_walk {
	struct config_file *file;
	struct config_entry *entries;	/* room for all */
	size_t		 n_entries;
	unsigned	 line;
	FILE		*out;		/* what iniparser will read */
	char		*err;
};

/* What iniparser complained of last: its callback is told nothing more. */
static char config_ini_error[256];

void *
config_alloc(struct config_file *file, size_t n, size_t size)
{
	struct config_block *b;
	size_t len;

	if (__builtin_mul_overflow(n, size, &len) ||
	    __builtin_add_overflow(len, sizeof(*b), &len))
		return NULL;
	b = calloc(1, len);
	if (b == NULL)
		return NULL;
	b->next = file->blocks;
	file->blocks = b;
	return b->data;
}

char *
config_copy(struct config_file *file, const char *text, size_t len)
{
	char *copy = config_alloc(file, len + 1, 1);

	if (copy != NULL)
		memcpy(copy, text, len);
	return copy;
}

/* More at the end of an error's line. */
static void
config_append(char *err, const char *fmt, va_list ap)
{
	size_t len = strlen(err);

	vsnprintf(err + len, CONFIG_ERR_MAX - len, fmt, ap);
}

bool
config_fail(char *err, const struct config_file *file,
    const struct config_section *section, const struct config_entry *entry,
    const char *fmt, ...)
{
	va_list ap;

	if (entry != NULL)
		snprintf(err, CONFIG_ERR_MAX, "%.500s:%u: [%.100s] %.200s: ",
		    file->path, entry->line, section->name, entry->key);
	else if (section != NULL)
		snprintf(err, CONFIG_ERR_MAX, "%.500s:%u: [%.100s]: ",
		    file->path, section->line, section->name);
	else
		snprintf(err, CONFIG_ERR_MAX, "%.500s: ", file->path);
	va_start(ap, fmt);
	config_append(err, fmt, ap);
	va_end(ap);
	return false;
}

struct config_entry *
config_find(const struct config_section *section, const char *key)
{
	if (section == NULL)
		return NULL;
	for (size_t i = 0; i < section->n_entries; i++)
		if (strcasecmp(section->entries[i].key, key) == 0)
			return &section->entries[i];
	return NULL;
}

struct config_section *
config_find_section(const struct config_file *file, const char *name)
{
	for (size_t i = 0; i < file->n_sections; i++)
		if (strcasecmp(file->sections[i].name, name) == 0)
			return &file->sections[i];
	return NULL;
}

/* PATH's reason, from errno. */
static int
config_snapshot_fail(const char *path, const char *why, char *err)
{
	const struct config_file file = { .path = path };

	config_fail(err, &file, NULL, NULL, "%s",
	    why != NULL ? why : strerror(errno));
	return -1;
}

/* All bytes of FD to the memory TO.  -1: ERR says why not. */
static int
config_snapshot_copy(const char *path, int fd, int to, char *err)
{
	char buf[64 * 1024];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		len += (size_t)n;
		if (len > CONFIG_FILE_MAX)
			return config_snapshot_fail(path,
			    "is longer than 1 MiB", err);
		if (write(to, buf, (size_t)n) != n)
			return config_snapshot_fail(path, NULL, err);
	}
	if (n == -1 || fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW |
	    F_SEAL_SHRINK | F_SEAL_SEAL) == -1)
		return config_snapshot_fail(path, NULL, err);
	return to;
}

int
config_snapshot(const char *path, char *err)
{
	int fd, memory, rc = -1;
	struct stat st;

	/* A FIFO that nobody writes must not hold us up. */
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd == -1)
		return config_snapshot_fail(path, NULL, err);
	memory = memfd_create("kvproxy.ini", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory == -1 || fstat(fd, &st) == -1)
		config_snapshot_fail(path, NULL, err);
	else if (!S_ISREG(st.st_mode))
		config_snapshot_fail(path, S_ISDIR(st.st_mode) ?
		    "is a directory" : "is not a regular file", err);
	else
		rc = config_snapshot_copy(path, fd, memory, err);
	if (rc == -1 && memory != -1)
		close(memory);
	close(fd);
	return rc;
}

/* All bytes of the snapshot FD, NULL with a reason in ERR; the caller frees.
 * It is not read through its offset, which others share. */
static char *
config_slurp(const struct config_file *file, int fd, size_t *len, char *err)
{
	char *text = malloc(CONFIG_FILE_MAX + 1);
	ssize_t n = 0;

	if (text == NULL) {
		config_fail(err, file, NULL, NULL, "out of memory");
		return NULL;
	}
	for (*len = 0; *len <= CONFIG_FILE_MAX; *len += (size_t)n) {
		n = pread(fd, text + *len, CONFIG_FILE_MAX + 1 - *len,
		    (off_t)*len);
		if (n <= 0)
			break;
	}
	if (n == 0)
		return text;
	config_fail(err, file, NULL, NULL, "%s", strerror(errno));
	free(text);
	return NULL;
}

/* The walk's error: the line is known, but no section or key. */
static bool
config_walk_fail(const struct config_walk *walk, const char *what)
{
	snprintf(walk->err, CONFIG_ERR_MAX, "%s:%u: %s", walk->file->path,
	    walk->line, what);
	return false;
}

static const char *
config_skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

/* The end of the LEN bytes at P without blanks. */
static size_t
config_trim(const char *p, size_t len)
{
	while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
		len--;
	return len;
}

/* Nothing more in this line, but perhaps a comment. */
static bool
config_is_end(const char *p)
{
	p = config_skip_blanks(p);
	return *p == '\0' || *p == ';' || *p == '#';
}

/* "[name]", perhaps with a comment behind. */
static bool
config_walk_section(struct config_walk *walk, const char *text,
    const char *end)
{
	struct config_file *f = walk->file;
	struct config_section *section = &f->sections[f->n_sections];
	const struct config_section *twin;
	size_t len;

	if (!config_is_end(end + 1))
		return config_walk_fail(walk, "text after a section's name");
	text = config_skip_blanks(text + 1);
	len = text < end ? config_trim(text, (size_t)(end - text)) : 0;
	if (len == 0)
		return config_walk_fail(walk, "a section without a name");
	if (f->n_sections == CONFIG_SECTIONS_MAX)
		return config_walk_fail(walk, "too many sections");
	section->line = walk->line;
	section->entries = walk->entries + walk->n_entries;
	section->name = config_copy(f, text, len);
	if (section->name == NULL)
		return config_walk_fail(walk, "out of memory");
	twin = config_find_section(f, section->name);
	if (twin != NULL)
		return config_fail(walk->err, f, section, NULL,
		    "this section stands in line %u already", twin->line);
	f->n_sections++;
	return true;
}

/* Hand RAW, all that is behind the "=", on to iniparser, in a form that it
 * cannot misread.  NULL, or what is wrong. */
static const char *
config_walk_value(struct config_walk *walk, const char *raw)
{
	const char *p = config_skip_blanks(raw);
	const char *end;
	size_t len;

	if (*raw == '#' || *raw == ';') {
		/* Next to the "=", without a blank, it is no comment. */
		len = strcspn(raw, " \t");
		if (memchr(raw, '"', len) != NULL || !config_is_end(raw + len))
			return "must stand in quotes";
		fprintf(walk->out, "%zu=\"%.*s\" ;", walk->n_entries, (int)len,
		    raw);
		return NULL;
	}
	if (*p == '"' || *p == '\'') {
		end = strchr(p + 1, *p);
		if (end == NULL)
			return "has no closing quote";
		if (!config_is_end(end + 1))
			return "has text after the closing quote";
		len = (size_t)(end + 1 - p);
	} else {
		/* iniparser would cut it here. */
		len = strcspn(p, ";#");
		if (len > 0 && p[len] != '\0' && config_trim(p, len) == len)
			return "must stand in quotes: a comment needs a blank "
			    "before it";
		len = config_trim(p, len);
		if (len > 0 && p[len - 1] == '\\')
			return "ends in a backslash: a value cannot go on in "
			    "the next line";
	}
	fprintf(walk->out, "%zu=%.*s ;", walk->n_entries, (int)len, p);
	return NULL;
}

/* "key = value", where EQUALS is. */
static bool
config_walk_entry(struct config_walk *walk, const char *text,
    const char *equals)
{
	struct config_file *f = walk->file;
	struct config_entry *entry = &walk->entries[walk->n_entries];
	struct config_section *section;
	const char *wrong;
	size_t len = config_trim(text, (size_t)(equals - text));

	if (len == 0)
		return config_walk_fail(walk, "no key before the \"=\"");
	if (f->n_sections == 0)
		return config_walk_fail(walk, "a key before any section");
	if (walk->n_entries == CONFIG_ENTRIES_MAX)
		return config_walk_fail(walk, "too many lines with values");
	section = &f->sections[f->n_sections - 1];
	entry->line = walk->line;
	entry->key = config_copy(f, text, len);
	if (entry->key == NULL)
		return config_walk_fail(walk, "out of memory");
	wrong = config_walk_value(walk, equals + 1);
	if (wrong != NULL)
		return config_fail(walk->err, f, section, entry, "%s", wrong);
	walk->n_entries++;
	section->n_entries++;
	return true;
}

/* One line, without its end. */
static bool
config_walk_line(struct config_walk *walk, const char *line)
{
	const char *text = config_skip_blanks(line), *end, *equals;

	if (config_is_end(text))
		return true;
	for (const char *p = text; *p != '\0'; p++)
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return config_walk_fail(walk, "a control character");
	equals = strchr(text, '=');
	if (*text == '[') {
		end = strchr(text, ']');
		if (end == NULL)
			return config_walk_fail(walk, "no closing bracket");
		/* [2001:db8::1]:11211 = ... is a host. */
		if (end[1] != ':' || equals == NULL || equals < end)
			return config_walk_section(walk, text, end);
	}
	if (equals == NULL)
		return config_walk_fail(walk,
		    "neither [section], key = value nor a comment");
	return config_walk_entry(walk, text, equals);
}

/* The LEN bytes at TEXT, which have no newline. */
static bool
config_walk_bytes(struct config_walk *walk, const char *text, size_t len)
{
	char line[CONFIG_LINE_MAX + 1];

	if (memchr(text, '\0', len) != NULL)
		return config_walk_fail(walk, "a NUL byte");
	if (len > CONFIG_LINE_MAX)
		return config_walk_fail(walk, "longer than 1000 bytes");
	memcpy(line, text, len);
	line[len] = '\0';
	return config_walk_line(walk, line);
}

/* Each line of the LEN bytes at TEXT; what iniparser gets has the same
 * numbers of lines. */
static bool
config_walk_lines(struct config_walk *walk, const char *text, size_t len)
{
	const char *const end = text + len;
	const char *newline;

	fputs("[s]", walk->out);
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	for (; text < end; text = newline + 1) {
		walk->line++;
		newline = memchr(text, '\n', (size_t)(end - text));
		if (newline == NULL)
			newline = end;
		len = (size_t)(newline - text);
		if (len > 0 && text[len - 1] == '\r')
			len--;
		fputc('\n', walk->out);
		if (!config_walk_bytes(walk, text, len) &&
		    !walk->file->is_lenient)
			return false;
	}
	fputc('\n', walk->out);
	return true;
}

static int
config_on_ini_error(const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(config_ini_error, sizeof(config_ini_error), fmt, ap);
	va_end(ap);
	config_ini_error[strcspn(config_ini_error, "\n")] = '\0';
	return n;
}

/* The values of all entries, from the text that iniparser finds in FD. */
static bool
config_read_values(struct config_walk *walk, int fd)
{
	struct config_file *f = walk->file;
	char name[64];
	const char *value;
	dictionary *ini;
	size_t i;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	snprintf(config_ini_error, sizeof(config_ini_error),
	    "iniparser cannot read it");
	iniparser_set_error_callback(config_on_ini_error);
	ini = iniparser_load(name);
	iniparser_set_error_callback(NULL);
	if (ini == NULL)
		return config_fail(walk->err, f, NULL, NULL, "%s",
		    config_ini_error);
	for (i = 0; i < walk->n_entries; i++) {
		snprintf(name, sizeof(name), "s:%zu", i);
		value = iniparser_getstring(ini, name, NULL);
		if (value == NULL)
			break;
		walk->entries[i].value = config_copy(f, value, strlen(value));
		if (walk->entries[i].value == NULL)
			break;
	}
	iniparser_freedict(ini);
	if (i < walk->n_entries) {
		walk->line = walk->entries[i].line;
		return config_walk_fail(walk, "cannot be read");
	}
	return true;
}

/* Fill FILE's sections and entries from the snapshot SHOT. */
static bool
config_read(struct config_file *file, int shot, char *err)
{
	struct config_walk walk = { .file = file, .err = err };
	char *text = NULL;
	bool is_read = false;
	size_t len;
	int fd;

	fd = memfd_create("kvproxy-config", MFD_CLOEXEC);
	walk.out = fd != -1 ? fdopen(fd, "w") : NULL;
	file->sections = config_alloc(file, CONFIG_SECTIONS_MAX + 1,
	    sizeof(*file->sections));
	walk.entries = config_alloc(file, CONFIG_ENTRIES_MAX + 1,
	    sizeof(*walk.entries));
	if (walk.out == NULL || file->sections == NULL ||
	    walk.entries == NULL) {
		config_fail(err, file, NULL, NULL, "%s", strerror(errno));
		goto done;
	}
	text = config_slurp(file, shot, &len, err);
	if (text == NULL || !config_walk_lines(&walk, text, len))
		goto done;
	if (fflush(walk.out) == EOF) {
		config_fail(err, file, NULL, NULL, "%s", strerror(errno));
		goto done;
	}
	is_read = config_read_values(&walk, fd);
done:
	free(text);
	if (walk.out != NULL)
		fclose(walk.out);
	else if (fd != -1)
		close(fd);
	return is_read;
}

/* Of PATH, and empty. */
static struct config *
config_new(const char *path, char *err)
{
	struct config *cfg = calloc(1, sizeof(*cfg));
	struct config_file *file = calloc(1, sizeof(*file));

	if (file != NULL)
		file->path = config_copy(file, path, strlen(path));
	if (cfg == NULL || file == NULL || file->path == NULL) {
		snprintf(err, CONFIG_ERR_MAX, "%s: out of memory", path);
		if (file != NULL)
			free(file->blocks);
		free(file);
		free(cfg);
		return NULL;
	}
	cfg->path = file->path;
	cfg->file = file;
	return cfg;
}

struct config *
config_parse(int fd, const char *path, const char *prefix,
    const struct config_lookup *lookup, char *err)
{
	struct config *cfg = config_new(path, err);

	if (cfg == NULL)
		return NULL;
	cfg->file->lookup = lookup;
	if (!config_read(cfg->file, fd, err) ||
	    !config_service_make_all(cfg, prefix, err))
		config_free(&cfg);
	else
		cfg->file->lookup = NULL;
	return cfg;
}

struct config *
config_load(const char *path, const char *prefix, char *err)
{
	struct config *cfg;
	int fd = config_snapshot(path, err);

	if (fd == -1)
		return NULL;
	cfg = config_parse(fd, path, prefix, NULL, err);
	close(fd);
	return cfg;
}

struct config *
config_load_core(const char *path, const char *prefix)
{
	char err[CONFIG_ERR_MAX];
	struct config *cfg = config_new(path, err);
	int fd;

	if (cfg == NULL)
		return NULL;
	cfg->file->is_lenient = true;
	fd = config_snapshot(path, err);
	if (fd == -1 || !config_read(cfg->file, fd, err))
		cfg->file->n_sections = 0;
	if (fd != -1)
		close(fd);
	if (!config_service_make_core(cfg, prefix, err))
		config_free(&cfg);
	return cfg;
}

void
config_free(struct config **cfg)
{
	struct config_block *b;

	if (*cfg == NULL)
		return;
	while ((b = (*cfg)->file->blocks) != NULL) {
		(*cfg)->file->blocks = b->next;
		free(b);
	}
	free((*cfg)->file);
	free(*cfg);
	*cfg = NULL;
}

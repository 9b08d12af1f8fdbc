/*
 * extload.c: the only place that loads code.
 */
#include "worker/extload.h"

#include <sys/stat.h>

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A shared object, loaded; what services open of it counts in refs. */
struct extload_file {
	struct extload_file *next;
	char		*name;		/* as services name it */
	char		*path;
	struct stat	 st;		/* when it was loaded */
	void		*handle;	/* dlopen's */
	const struct kvp_ext *fn;
	unsigned	 refs;
};

/* Once it is sealed, nothing is loaded or let go of any more. */
static struct {
	struct extload_file *files;
	bool		 is_sealed;
} extload_state;

/* An extension on its way in. */
struct extload_job {
	struct config	*cfg;
	struct config_service *service;
	char		 path[PATH_MAX];
	char		*err;
};

#define EXTLOAD_FUNCTION(f) { #f, offsetof(struct kvp_ext, f) }

static const struct {
	const char	*name;
	size_t		 offset;
} extload_functions[] = {
	EXTLOAD_FUNCTION(open),
	EXTLOAD_FUNCTION(close),
	EXTLOAD_FUNCTION(parse),
	EXTLOAD_FUNCTION(next_key),
	EXTLOAD_FUNCTION(encode),
	EXTLOAD_FUNCTION(greet),
	EXTLOAD_FUNCTION(greeted),
	EXTLOAD_FUNCTION(decode),
	EXTLOAD_FUNCTION(follow),
	EXTLOAD_FUNCTION(render),
	EXTLOAD_FUNCTION(fail),
	EXTLOAD_FUNCTION(effect),
	EXTLOAD_FUNCTION(age),
	EXTLOAD_FUNCTION(flush),
	EXTLOAD_FUNCTION(admin),
};

/* A function that is missing above would be one that is not checked. */
_Static_assert(sizeof(struct kvp_ext) == offsetof(struct kvp_ext, open) +
    ARRAY_LEN(extload_functions) * sizeof(void (*)(void)),
    "extload_functions has not all of them");

static bool	extload_fail(const struct extload_job *, const char *, ...)
		    PRINTF_LIKE(2, 3);

/* The error's line; always false. */
static bool
extload_fail(const struct extload_job *job, const char *fmt, ...)
{
	va_list ap;
	int n;

	n = snprintf(job->err, CONFIG_ERR_MAX,
	    "%.300s:%u: [%.100s] extension: %.400s: ", job->cfg->path,
	    job->service->line, job->service->name, job->path);
	va_start(ap, fmt);
	vsnprintf(job->err + n, CONFIG_ERR_MAX - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

/* job->path, without symlinks. */
static bool
extload_find(struct extload_job *job)
{
	const char *name = job->service->extension;
	char path[PATH_MAX];
	int n;

	snprintf(job->path, sizeof(job->path), "%s", name);
	if (strchr(name, '/') != NULL)
		return extload_fail(job,
		    "must be the name of a file in ext_path, without folder");
	n = snprintf(path, sizeof(path), "%s/%s", job->cfg->ext_path, name);
	if (n >= (int)sizeof(path))
		return extload_fail(job, "%s", strerror(ENAMETOOLONG));
	memcpy(job->path, path, (size_t)n + 1);
	if (realpath(path, job->path) != NULL)
		return true;
	/* realpath has put into it how far it came. */
	memcpy(job->path, path, (size_t)n + 1);
	return extload_fail(job, "%s", strerror(errno));
}

/* Only root and who starts us may have a say in what we run. */
static bool
extload_check_owner(const struct extload_job *job, const char *what,
    const struct stat *st)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return extload_fail(job, "%s belongs to user %ld, who is "
		    "neither root nor the one that starts kvproxy", what,
		    (long)st->st_uid);
	if ((st->st_mode & S_IWOTH) != 0)
		return extload_fail(job, "%s can be written by others", what);
	if ((st->st_mode & S_IWGRP) != 0)
		return extload_fail(job, "%s can be written by its group",
		    what);
	return true;
}

static bool
extload_check_file(const struct extload_job *job)
{
	char folder[PATH_MAX], *slash;
	struct stat st;

	if (stat(job->path, &st) == -1)
		return extload_fail(job, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return extload_fail(job, "is not a regular file");
	if (!extload_check_owner(job, "the file", &st))
		return false;
	memcpy(folder, job->path, sizeof(folder));
	slash = strrchr(folder, '/');
	slash[slash == folder ? 1 : 0] = '\0';
	if (stat(folder, &st) == -1)
		return extload_fail(job, "%s", strerror(errno));
	return extload_check_owner(job, "its folder", &st);
}

/* What dlerror says, without the path that extload_fail gives. */
static const char *
extload_dlerror(const struct extload_job *job)
{
	const char *why = dlerror();
	size_t len = strlen(job->path);

	if (why == NULL)
		return "unknown error";
	if (strncmp(why, job->path, len) == 0 && why[len] == ':')
		why += len + 1;
	return why + strspn(why, " ");
}

static bool
extload_check_options(const struct extload_job *job,
    const struct kvp_ext *fn)
{
	if (fn->options == NULL && fn->n_options > 0)
		return extload_fail(job, "has no table of options");
	for (size_t i = 0; i < fn->n_options; i++) {
		const struct kvp_option *o = &fn->options[i];

		if (o->key == NULL || o->text == NULL ||
		    o->type > KVP_OPT_STR ||
		    (o->type == KVP_OPT_ENUM && o->names == NULL) ||
		    (o->type != KVP_OPT_STR && o->def == NULL))
			return extload_fail(job, "its option %zu (%s) is "
			    "incomplete", i, o->key != NULL ? o->key : "");
	}
	return true;
}

/* ABI and size stand first in all versions: the rest is looked at after. */
static bool
extload_check_table(const struct extload_job *job, const struct kvp_ext *fn)
{
	if (fn->abi != KVP_ABI)
		return extload_fail(job, "is made for version %u of the "
		    "extension interface, this is version %u", fn->abi,
		    KVP_ABI);
	if (fn->size != sizeof(*fn))
		return extload_fail(job, "its table has %u bytes, not %zu",
		    fn->size, sizeof(*fn));
	if (fn->name == NULL)
		return extload_fail(job, "has no name");
	for (size_t i = 0; i < ARRAY_LEN(extload_functions); i++) {
		void (*f)(void);

		memcpy(&f, (const char *)fn + extload_functions[i].offset,
		    sizeof(f));
		if (f == NULL)
			return extload_fail(job, "has no function %s",
			    extload_functions[i].name);
	}
	return extload_check_options(job, fn);
}

static void
extload_put_file(struct extload_file *file)
{
	struct extload_file **p = &extload_state.files;

	if (--file->refs > 0 || extload_state.is_sealed)
		return;
	while (*p != NULL && *p != file)
		p = &(*p)->next;
	if (*p == file)
		*p = file->next;
	if (file->handle != NULL)
		dlclose(file->handle);
	free(file->name);
	free(file->path);
	free(file);
}

static bool
extload_read_file(const struct extload_job *job, struct extload_file *file)
{
	file->name = strdup(job->service->extension);
	file->path = strdup(job->path);
	if (file->name == NULL || file->path == NULL)
		return extload_fail(job, "out of memory");
	if (stat(job->path, &file->st) == -1)
		return extload_fail(job, "%s", strerror(errno));
	file->handle = dlopen(job->path, RTLD_NOW | RTLD_LOCAL);
	if (file->handle == NULL)
		return extload_fail(job, "%s", extload_dlerror(job));
	file->fn = dlsym(file->handle, KVP_SYMBOL);
	if (file->fn == NULL)
		return extload_fail(job, "%s", extload_dlerror(job));
	return extload_check_table(job, file->fn);
}

static bool
extload_load(struct extload_job *job, struct extload *e)
{
	struct extload_file *file;

	if (!extload_find(job) || !extload_check_file(job))
		return false;
	file = calloc(1, sizeof(*file));
	if (file == NULL)
		return extload_fail(job, "out of memory");
	file->refs = 1;
	if (!extload_read_file(job, file)) {
		extload_put_file(file);
		return false;
	}
	file->next = extload_state.files;
	extload_state.files = file;
	e->file = file;
	return true;
}

/* What was loaded before the seal serves on, whatever has become of its
 * file. */
static bool
extload_reuse(struct extload_job *job, struct extload *e)
{
	struct extload_file *f = extload_state.files;

	snprintf(job->path, sizeof(job->path), "%s", job->service->extension);
	while (f != NULL && strcmp(f->name, job->service->extension) != 0)
		f = f->next;
	if (f == NULL)
		return extload_fail(job, "a new extension needs a restart");
	snprintf(job->path, sizeof(job->path), "%s", f->path);
	f->refs++;
	e->file = f;
	return true;
}

void
extload_make_option(struct config_option *to, const struct kvp_option *from)
{
	static const enum config_type types[] = {
		[KVP_OPT_INT] = CONFIG_INT,
		[KVP_OPT_BOOL] = CONFIG_BOOL,
		[KVP_OPT_ENUM] = CONFIG_ENUM,
		[KVP_OPT_STR] = CONFIG_STR,
	};

	to->key = from->key;
	to->type = types[from->type];
	to->when = CONFIG_NOW;
	if ((from->flags & KVP_OPT_LATER) != 0)
		to->when = CONFIG_LATER;
	if ((from->flags & KVP_OPT_INERT) != 0)
		to->when = CONFIG_INERT;
	to->def = from->def;
	to->least = (double)from->least;
	to->most = (double)from->most;
	to->names = from->names;
	to->text = from->text;
}

/* Claim the options; their values go into e->conf. */
static bool
extload_claim(const struct extload_job *job, struct extload *e)
{
	const size_t n = e->fn->n_options;
	struct config_option *options = calloc(n + 1, sizeof(*options));
	struct kvp_value *values = calloc(n + 1, sizeof(*values));
	bool is_claimed;

	e->conf.value = values;
	if (options == NULL || values == NULL) {
		free(options);
		return extload_fail(job, "out of memory");
	}
	for (size_t i = 0; i < n; i++)
		extload_make_option(&options[i], &e->fn->options[i]);
	is_claimed = config_claim(job->cfg, job->service, options, n,
	    job->err);
	free(options);
	for (size_t i = 0; is_claimed && i < n; i++) {
		values[i].num = job->service->ext_values[i].num;
		values[i].str = job->service->ext_values[i].str;
	}
	return is_claimed;
}

static bool
extload_start(const struct extload_job *job, struct extload *e)
{
	char why[256] = "";

	e->conf.max_value = (uint64_t)job->service->max_packet;
	e->conf.allow_flush = job->service->allow_flush;
	e->conf.version = KVPROXY_VERSION;
	e->ext = e->fn->open(&e->conf, why, sizeof(why));
	if (e->ext == NULL)
		return extload_fail(job, "%s", why);
	return true;
}

static bool
extload_make(struct extload_job *job, struct extload *e)
{
	if (extload_state.is_sealed ? !extload_reuse(job, e) :
	    !extload_load(job, e))
		return false;
	e->fn = e->file->fn;
	return extload_claim(job, e) && extload_start(job, e);
}

struct extload *
extload_open(struct config *cfg, struct config_service *service, char *err)
{
	struct extload_job job = {
		.cfg = cfg, .service = service, .err = err
	};
	struct extload *e = calloc(1, sizeof(*e));

	if (e == NULL)
		snprintf(err, CONFIG_ERR_MAX, "out of memory");
	else if (!extload_make(&job, e))
		extload_close(&e);
	return e;
}

void
extload_close(struct extload **ext)
{
	struct extload *e = *ext;

	if (e == NULL)
		return;
	*ext = NULL;
	if (e->ext != NULL)
		e->fn->close(e->ext);
	free((void *)e->conf.value);
	if (e->file != NULL)
		extload_put_file(e->file);
	free(e);
}

void
extload_seal(void)
{
	extload_state.is_sealed = true;
}

bool
extload_has_changed(const struct extload *e)
{
	const struct stat *was = &e->file->st;
	struct stat st;

	return stat(e->file->path, &st) == -1 || st.st_dev != was->st_dev ||
	    st.st_ino != was->st_ino || st.st_size != was->st_size ||
	    st.st_mtim.tv_sec != was->st_mtim.tv_sec ||
	    st.st_mtim.tv_nsec != was->st_mtim.tv_nsec;
}

/*
 * test_extload.c: what is let in as an extension, and what is not.
 *
 * The extensions are t/ext_*.c, copied to a folder that passes the checks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/stat.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/extload.h"

#define NOBODY	65534

static char folder[64];		/* the extensions' */
static char ini[96];
static char so[96];		/* the extension under test */
static struct config *cfg;
static char err[CONFIG_ERR_MAX];

static int
set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_extload.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(ini, sizeof(ini), "%s/kvproxy.ini", folder);
	snprintf(so, sizeof(so), "%s/plain.so", folder);
	err[0] = '\0';
	return unsetenv("EXT_FAULT");
}

static int
tear_down(void **state)
{
	(void)state;
	unsetenv("EXT_FAULT");
	config_free(&cfg);
	unlink(ini);
	unlink(so);
	return rmdir(folder);
}

static void
write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* The built t/ext_NAME.so, as plain.so; with byte AT (if not 0) as BYTE. */
static void
install(const char *name, size_t at, char byte)
{
	static char bytes[4 * 1024 * 1024];
	const char *build = getenv("KVPROXY_BUILD");
	char path[512];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/t/ext_%s.so",
	    build != NULL ? build : ".", name);
	f = fopen(path, "r");
	if (f == NULL)
		fail_msg("%s is missing", path);
	len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	assert_in_range(len, 1000, sizeof(bytes) - 1);
	if (at != 0)
		bytes[at] = byte;
	write_file(so, bytes, len);
	assert_int_equal(chmod(so, 0644), 0);
}

/* A configuration whose service has EXTENSION and the LINES. */
static void
configure(const char *extension, const char *lines)
{
	char text[1024];
	int len;

	config_free(&cfg);
	len = snprintf(text, sizeof(text),
	    "[kvproxy]\next_path=%s\nmax_packet=3\nallow_flush=off\n"
	    "[plain]\nextension=%s\nhosts=group\n%s\n"
	    "[group]\n127.0.0.1:11211=\"1:50\"\n", folder, extension, lines);
	write_file(ini, text, (size_t)len);
	cfg = config_load(ini, "/nowhere", err);
	if (cfg == NULL)
		fail_msg("%s", err);
}

static void
assert_refused(const char *why)
{
	char line[CONFIG_ERR_MAX];

	assert_null(extload_open(cfg, &cfg->services[0], err));
	snprintf(line, sizeof(line), "%s:5: [plain] extension: %s: %s", ini,
	    so, why);
	assert_string_equal(err, line);
}

static struct extload *
open_plain(void)
{
	struct extload *e = extload_open(cfg, &cfg->services[0], err);

	if (e == NULL)
		fail_msg("%s", err);
	return e;
}

static void
extload_opens_and_closes(void **state)
{
	struct extload *e, *other;
	int *n_open;

	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "");
	e = open_plain();
	n_open = e->ext;
	assert_int_equal(*n_open, 1);
	assert_string_equal(e->fn->name, "plain");
	other = open_plain();	/* of another service, perhaps */
	assert_int_equal(*n_open, 2);
	extload_close(&other);
	assert_null(other);
	assert_int_equal(*n_open, 1);
	extload_close(&e);
	assert_null(e);
	extload_close(&e);
}

static void
extload_tells_the_extension_its_configuration(void **state)
{
	struct extload *e;

	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "size=12\nloud=on\ntone=high\ntune=la la");
	e = open_plain();
	assert_int_equal(e->conf.value[0].num, 12);
	assert_int_equal(e->conf.value[1].num, 1);
	assert_int_equal(e->conf.value[2].num, 2);
	assert_string_equal(e->conf.value[3].str, "la la");
	assert_int_equal(e->conf.max_value, 3 << 20);
	assert_false(e->conf.allow_flush);
	assert_string_equal(e->conf.version, KVPROXY_VERSION);
	extload_close(&e);
}

static void
extload_gives_defaults(void **state)
{
	struct extload *e;

	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "");
	e = open_plain();
	assert_int_equal(e->conf.value[0].num, 7);
	assert_int_equal(e->conf.value[1].num, 0);
	assert_int_equal(e->conf.value[2].num, 0);
	assert_null(e->conf.value[3].str);
	extload_close(&e);
}

static void
extload_names_the_line_of_a_wrong_option(void **state)
{
	char line[CONFIG_ERR_MAX];

	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "tone=shrill");
	assert_null(extload_open(cfg, &cfg->services[0], err));
	snprintf(line, sizeof(line), "%s:8: [plain] tone: ", ini);
	assert_memory_equal(err, line, strlen(line));
}

static unsigned n_warnings;

static void
count_warning(const char *line)
{
	n_warnings++;
	assert_non_null(strstr(line, "soon"));
}

static void
extload_warns_of_options_to_come_only(void **state)
{
	struct extload *e;

	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "old=anything\nsoon=on");
	e = open_plain();
	n_warnings = 0;
	assert_true(config_finish(cfg, count_warning, err));
	assert_int_equal(n_warnings, 1);
	extload_close(&e);
}

static void
extload_follows_links_to_the_file_that_counts(void **state)
{
	char link[128];
	struct extload *e;

	(void)state;
	install("plain", 0, 0);
	snprintf(link, sizeof(link), "%s/link.so", folder);
	assert_int_equal(symlink("plain.so", link), 0);
	configure("link.so", "");
	e = open_plain();
	extload_close(&e);
	assert_int_equal(chmod(so, 0664), 0);
	assert_refused("the file can be written by its group");
	assert_int_equal(unlink(link), 0);
}

/* Row X1. */
static void
extload_refuses_a_missing_file(void **state)
{
	(void)state;
	configure("plain.so", "");
	assert_refused("No such file or directory");
}

static void
extload_refuses_a_path(void **state)
{
	static const char *const names[] = { "../plain.so", "/etc/passwd" };
	char line[CONFIG_ERR_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		configure(names[i], "");
		assert_null(extload_open(cfg, &cfg->services[0], err));
		snprintf(line, sizeof(line), "%s:5: [plain] extension: %s: "
		    "must be the name of a file in ext_path, without folder",
		    ini, names[i]);
		assert_string_equal(err, line);
	}
}

static void
extload_refuses_a_folder(void **state)
{
	(void)state;
	assert_int_equal(mkdir(so, 0755), 0);
	configure("plain.so", "");
	assert_refused("is not a regular file");
	assert_int_equal(rmdir(so), 0);
}

/* Row X1. */
static void
extload_refuses_what_is_not_elf(void **state)
{
	static const char text[] = "int main(void) { return 0; }\n";

	(void)state;
	write_file(so, text, sizeof(text) - 1);
	assert_int_equal(chmod(so, 0644), 0);
	configure("plain.so", "");
	assert_refused("file too short");
	write_file(so, "", 0);
	assert_refused("file too short");
}

/* Row X1. */
static void
extload_refuses_another_machines(void **state)
{
	(void)state;
	install("plain", 4, UINTPTR_MAX > UINT32_MAX ? 1 : 2);
	configure("plain.so", "");
	assert_refused(UINTPTR_MAX > UINT32_MAX ?
	    "wrong ELF class: ELFCLASS32" : "wrong ELF class: ELFCLASS64");
	install("plain", 1, 'e');
	assert_refused("invalid ELF header");
}

/* Row X13. */
static void
extload_refuses_what_others_can_write(void **state)
{
	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "");
	assert_int_equal(chmod(so, 0664), 0);
	assert_refused("the file can be written by its group");
	assert_int_equal(chmod(so, 0646), 0);
	assert_refused("the file can be written by others");
	assert_int_equal(chmod(so, 0644), 0);
	assert_int_equal(chmod(folder, 0775), 0);
	assert_refused("its folder can be written by its group");
	assert_int_equal(chmod(folder, 01777), 0);
	assert_refused("its folder can be written by others");
}

/* Row X13; only root can give a file away. */
static void
extload_refuses_what_belongs_to_others(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	install("plain", 0, 0);
	configure("plain.so", "");
	assert_int_equal(chown(so, NOBODY, NOBODY), 0);
	assert_refused("the file belongs to user 65534, who is neither root "
	    "nor the one that starts kvproxy");
	assert_int_equal(chown(so, 0, 0), 0);
	assert_int_equal(chown(folder, NOBODY, NOBODY), 0);
	assert_refused("its folder belongs to user 65534, who is neither root "
	    "nor the one that starts kvproxy");
}

/* Row X2. */
static void
extload_refuses_what_has_no_table(void **state)
{
	(void)state;
	install("nosymbol", 0, 0);
	configure("plain.so", "");
	assert_refused("undefined symbol: kvp_extension");
}

/* Row X12. */
static void
extload_refuses_what_needs_a_function_nobody_has(void **state)
{
	(void)state;
	install("unresolved", 0, 0);
	configure("plain.so", "");
	assert_refused("undefined symbol: ext_nobody_has_this");
}

/* Row X3. */
static void
extload_refuses_a_spoilt_table(void **state)
{
	static const char *const functions[] = {
		"open", "close", "parse", "next_key", "encode", "greet",
		"greeted", "decode", "follow", "render", "fail", "effect",
		"age", "flush", "admin"
	};
	char why[128];

	(void)state;
	install("plain", 0, 0);
	configure("plain.so", "size=3");
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		setenv("EXT_FAULT", functions[i], 1);
		snprintf(why, sizeof(why), "has no function %s",
		    functions[i]);
		assert_refused(why);
	}
	setenv("EXT_FAULT", "abi", 1);
	snprintf(why, sizeof(why), "is made for version %d of the extension "
	    "interface, this is version %d", KVP_ABI + 1, KVP_ABI);
	assert_refused(why);
	setenv("EXT_FAULT", "size", 1);
	snprintf(why, sizeof(why), "its table has %zu bytes, not %zu",
	    sizeof(struct kvp_ext) - 8, sizeof(struct kvp_ext));
	assert_refused(why);
	setenv("EXT_FAULT", "name", 1);
	assert_refused("has no name");
	setenv("EXT_FAULT", "option", 1);
	assert_refused("its option 2 (tone) is incomplete");
	setenv("EXT_FAULT", "refuse", 1);
	assert_refused("size 3 does not suit it");
}

#define EXTLOAD_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		EXTLOAD_TEST(extload_opens_and_closes),
		EXTLOAD_TEST(extload_tells_the_extension_its_configuration),
		EXTLOAD_TEST(extload_gives_defaults),
		EXTLOAD_TEST(extload_names_the_line_of_a_wrong_option),
		EXTLOAD_TEST(extload_warns_of_options_to_come_only),
		EXTLOAD_TEST(extload_follows_links_to_the_file_that_counts),
		EXTLOAD_TEST(extload_refuses_a_missing_file),
		EXTLOAD_TEST(extload_refuses_a_path),
		EXTLOAD_TEST(extload_refuses_a_folder),
		EXTLOAD_TEST(extload_refuses_what_is_not_elf),
		EXTLOAD_TEST(extload_refuses_another_machines),
		EXTLOAD_TEST(extload_refuses_what_others_can_write),
		EXTLOAD_TEST(extload_refuses_what_belongs_to_others),
		EXTLOAD_TEST(extload_refuses_what_has_no_table),
		EXTLOAD_TEST(extload_refuses_what_needs_a_function_nobody_has),
		EXTLOAD_TEST(extload_refuses_a_spoilt_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * fuzz_main.c [FILE...]: give a target the files of its corpus, t/corpus/
 * and the target's name, or those that are named; a test point each.  Every
 * file is read in a process of its own, so that all are read.
 */
#include "t/fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool
main_run(const char *path)
{
	uint8_t *room = malloc(FUZZ_INPUT_MAX), *p;
	FILE *f = fopen(path, "rb");
	size_t len;

	if (f == NULL || room == NULL) {
		perror(path);
		return false;
	}
	len = fread(room, 1, FUZZ_INPUT_MAX, f);
	fclose(f);
	/* As long as what is in it, for sanitizers. */
	if ((p = malloc(len + (len == 0))) == NULL)
		return false;
	memcpy(p, room, len);
	free(room);
	LLVMFuzzerTestOneInput(p, len);
	free(p);
	return true;
}

static bool
main_test(const char *path, unsigned number)
{
	const char *slash = strrchr(path, '/');
	int status;
	pid_t pid;

	if ((pid = fork()) == 0)
		_exit(main_run(path) ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		return false;
	}
	if (WIFSIGNALED(status))
		printf("# signal %d\n", WTERMSIG(status));
	printf("%s %u - %s\n", status == 0 ? "ok" : "not ok", number,
	    slash != NULL ? slash + 1 : path);
	fflush(stdout);
	return status == 0;
}

static int
main_is_file(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static int
main_test_folder(const char *folder)
{
	struct dirent **files;
	bool good = true;
	int i, n = -1;

	if (chdir(folder) == 0)
		n = scandir(".", &files, main_is_file, alphasort);
	if (n <= 0) {
		printf("Bail out! %s: nothing is there\n", folder);
		return 1;
	}
	printf("1..%d\n", n);
	fflush(stdout);
	for (i = 0; i < n; i++) {
		good = main_test(files[i]->d_name, (unsigned)i + 1) && good;
		free(files[i]);
	}
	free(files);
	return good ? 0 : 1;
}

int
main(int argc, char **argv)
{
	const char *source = getenv("KVPROXY_SOURCE");
	const char *slash = strrchr(argv[0], '/');
	const char *name = strstr(slash != NULL ? slash : argv[0], "fuzz_");
	char folder[PATH_MAX];
	bool good = true;
	int i;

	if (argc == 1 && name != NULL) {
		snprintf(folder, sizeof(folder), "%s/t/corpus/%s",
		    source != NULL ? source : ".", name + strlen("fuzz_"));
		return main_test_folder(folder);
	}
	printf("1..%d\n", argc - 1);
	fflush(stdout);
	for (i = 1; i < argc; i++)
		good = main_test(argv[i], (unsigned)i) && good;
	return good ? 0 : 1;
}

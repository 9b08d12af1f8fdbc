/*
 * metrics_main.c: the program kvproxy-metrics, which kvproxy starts.
 *
 * Its words are kvproxy's version and the descriptors that it is given
 * (metrics_child.c): listener, control, segment, setup, log; -1: there is none.
 */
#include <sys/prctl.h>

#include <stdio.h>
#include <string.h>

#include "master/metrics.h"
#include "shared/log.h"

#define METRICS_MAIN_WORDS	7

int
main(int argc, char **argv)
{
	static struct report_setup setup;
	struct metrics_birth birth = { .setup = &setup };
	char err[256];
	int status;
	FILE *in;

	if (argc != METRICS_MAIN_WORDS) {
		fputs("kvproxy-metrics: kvproxy starts it, where the option "
		    "metrics is set\n", stderr);
		return 1;
	}
	/* It was executed without its name. */
	prctl(PR_SET_NAME, "kvproxy-metrics");
	if (atoi(argv[6]) != -1)
		log_set_fd(atoi(argv[6]));
	if (strcmp(argv[1], KVPROXY_VERSION) != 0)
		log_fatalx("metrics: kvproxy is of version %s, this is %s: "
		    "restart it", argv[1], KVPROXY_VERSION);
	birth.listener = atoi(argv[2]);
	birth.control = atoi(argv[3]);
	birth.shm = shm_adopt(atoi(argv[4]), err, sizeof(err));
	if (birth.shm == NULL)
		log_fatalx("metrics: %s", err);
	in = fdopen(atoi(argv[5]), "r");
	if (in == NULL || !report_read_setup(in, &setup))
		log_fatal("metrics: the setup cannot be read");
	fclose(in);
	status = metrics_run(&birth);
	report_free_setup(&setup);
	shm_close(&birth.shm);
	return status;
}

/*
 * notify.c: the only place that knows systemd.
 */
#include "master/notify.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "shared/log.h"

static void
notify_send(const char *words)
{
#ifdef HAVE_SYSTEMD
	int r = sd_notify(0, words);

	if (r >= 0)
		return;
	errno = -r;
	log_warn("cannot tell systemd");
#else
	(void)words;
#endif
}

void
notify_ready(void)
{
	char words[64];

	/* In the background we are not the process that was started. */
	snprintf(words, sizeof(words), "READY=1\nMAINPID=%ld", (long)getpid());
	notify_send(words);
}

void
notify_reloading(void)
{
	struct timespec now;
	char words[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(words, sizeof(words), "RELOADING=1\nMONOTONIC_USEC=%llu",
	    (unsigned long long)now.tv_sec * 1000000 +
	    (unsigned long long)now.tv_nsec / 1000);
	notify_send(words);
}

void
notify_stopping(void)
{
	notify_send("STOPPING=1");
}

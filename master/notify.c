/*
 * notify.c: the only place that knows systemd.
 */
#include "master/notify.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "shared/clock.h"
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
	char words[64];

	snprintf(words, sizeof(words), "RELOADING=1\nMONOTONIC_USEC=%llu",
	    (unsigned long long)clock_us());
	notify_send(words);
}

void
notify_stopping(void)
{
	notify_send("STOPPING=1");
}

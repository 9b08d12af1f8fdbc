/*
 * show.h: what a running instance is doing, told from outside.
 *
 * By its shared segment alone, which is only read: so it can be told also when
 * the workers hang, and nothing is disturbed.
 */
#ifndef MASTER_SHOW_H
#define MASTER_SHOW_H

#include "shared/base.h"

enum show_result {
	SHOW_DONE,
	SHOW_TROUBLE,		/* there may be one, but it cannot be read */
	SHOW_NOT_RUNNING = 3	/* as init scripts have it */
};

/* Write the status of the instance of PID_FILE to standard output, for a
 * person or as JSON.  What is not SHOW_DONE is said in ERR (ROOM bytes); the
 * values are exit statuses. */
enum show_result show_status(const char *pid_file, bool is_json, char *err,
	    size_t room) MUST_CHECK;

#endif /* MASTER_SHOW_H */

#include "master/show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/report.h"
#include "shared/shm.h"

/* Nobody uses the segment of PID_FILE, errno says how that is known. */
static enum show_result
show_nobody(const char *pid_file, char *err, size_t room)
{
	if (errno != ENOENT && errno != ESRCH) {
		snprintf(err, room, "%s: cannot tell whether it runs: %s",
		    pid_file, strerror(errno));
		return SHOW_TROUBLE;
	}
	if (access(pid_file, F_OK) == 0)
		snprintf(err, room, "not running, but left %s", pid_file);
	else
		snprintf(err, room, "not running");
	return SHOW_NOT_RUNNING;
}

enum show_result
show_status(const char *pid_file, bool is_json, char *err, size_t room)
{
	struct shm *shm;
	pid_t pid;

	if (!shm_has_master(pid_file, &pid))
		return show_nobody(pid_file, err, room);
	shm = shm_attach(pid_file, err, room);
	if (shm == NULL)
		return SHOW_TROUBLE;
	if (is_json)
		report_json(stdout, shm);
	else
		report_text(stdout, shm);
	shm_close(&shm);
	if (fflush(stdout) == 0)
		return SHOW_DONE;
	snprintf(err, room, "cannot write: %s", strerror(errno));
	return SHOW_TROUBLE;
}

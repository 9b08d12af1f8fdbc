#include "master/child.h"

#include <sys/prctl.h>

#include <errno.h>
#include <unistd.h>

#include "master/user.h"
#include "shared/log.h"

pid_t
child_fork(struct child *c)
{
	sigset_t all;
	pid_t pid;
	int saved;

	c->master = getpid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &c->mask);
	pid = fork();
	if (pid == 0)
		return 0;
	saved = errno;
	sigprocmask(SIG_SETMASK, &c->mask, NULL);
	errno = saved;
	return pid;
}

bool
child_settle(const struct child *c, const struct user *user, const char *who)
{
	static const int ignored[] = {
		SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE
	};

	for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigprocmask(SIG_SETMASK, &c->mask, NULL);
	if (!user_become(user)) {
		log_error("%s: cannot become user %s", who, user->name);
		return false;
	}
	/* A change of user takes it away. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != c->master)
		return false;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return true;
}

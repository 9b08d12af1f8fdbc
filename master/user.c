#include "master/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool
user_find(struct user *user, const char *name, char *err, size_t room)
{
	const struct passwd *pw;

	memset(user, 0, sizeof(*user));
	if (name == NULL)
		return true;
	ASSERT(strlen(name) <= USER_NAME_MAX);
	pw = getpwnam(name);
	if (pw == NULL) {
		snprintf(err, room, "there is no user \"%s\"", name);
		return false;
	}
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	if (pw->pw_uid == geteuid())
		return true;
	if (geteuid() != 0) {
		snprintf(err, room, "only root can start workers of \"%s\"",
		    name);
		return false;
	}
	strcpy(user->name, name);
	return true;
}

bool
user_become(const struct user *user)
{
	if (user->name[0] == '\0')
		return true;
	if (initgroups(user->name, user->gid) == -1 ||
	    setresgid(user->gid, user->gid, user->gid) == -1 ||
	    setresuid(user->uid, user->uid, user->uid) == -1)
		return false;
	/* There must be no way back. */
	errno = EPERM;
	return user->uid == 0 || (setuid(0) == -1 && geteuid() == user->uid &&
	    getuid() == user->uid && getegid() == user->gid);
}

/*
 * user.h: the user that workers run as.
 */
#ifndef MASTER_USER_H
#define MASTER_USER_H

#include <sys/types.h>

#include "shared/base.h"

#define USER_NAME_MAX	64	/* the option's most */

struct user {
	char		 name[USER_NAME_MAX + 1];	/* empty: who we are */
	uid_t		 uid;
	gid_t		 gid;
};

/* Look NAME up, which may be NULL: then nothing is to change.  False: ERR (ROOM
 * bytes) says why: there is none, or we are not root. */
bool	 user_find(struct user *user, const char *name, char *err, size_t room)
	    MUST_CHECK;
/* Become USER for good.  False with errno: nothing may go on. */
bool	 user_become(const struct user *user) MUST_CHECK;

#endif /* MASTER_USER_H */

/*
 * pidfile.h: the file that names the running master, and its lock.
 *
 * The lock (flock, held for life) says that a master runs; the number in the
 * file only says which, and is believed while the lock is held.  So a stale
 * file, whatever process it names, holds nobody up.
 */
#ifndef MASTER_PIDFILE_H
#define MASTER_PIDFILE_H

#include "shared/base.h"

struct pidfile {
	const char	*path;	/* the caller's; lives as long as this */
	int		 fd;	/* -1: not held */
	bool		 was_stale;	/* a master that was killed left it */
};

/* Make or take over the file at PATH, lock it and write our pid.  Waits
 * 200 ms at most for somebody who only looks at the lock.  False: ERR (ROOM
 * bytes) says why; where a master holds the lock, with its pid. */
bool	 pidfile_open(struct pidfile *pf, const char *path, char *err,
	    size_t room) MUST_CHECK;

/* Remove the file, then let the lock go. */
void	 pidfile_close(struct pidfile *pf);

/* In a child: let go of what it inherited; file and lock stay. */
void	 pidfile_forget(struct pidfile *pf);

#endif /* MASTER_PIDFILE_H */

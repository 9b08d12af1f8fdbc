/*
 * notify.h: what the service manager is told.
 *
 * Only where a systemd started us and waits for word (Type=notify), and the
 * build has libsystemd; else these do nothing.  A word that cannot be sent is
 * logged.  The master's alone: workers say nothing.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

/* All workers serve, at the start or after a reload, done or refused; and
 * this process is the one to watch. */
void	 notify_ready(void);
/* A reload begins; notify_ready follows whatever becomes of it. */
void	 notify_reloading(void);
/* The stop begins. */
void	 notify_stopping(void);

#endif /* MASTER_NOTIFY_H */

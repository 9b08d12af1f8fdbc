#include "master/inbox.h"

#include <sys/socket.h>

#include <unistd.h>

#include "shared/fdpass.h"

#define INBOX_MESSAGE_MAX	8192	/* none is longer */

void
inbox_init(struct inboxes *boxes)
{
	for (unsigned i = 0; i < SHM_WORKERS_MAX; i++)
		boxes->in[i] = boxes->out[i] = -1;
}

static void
inbox_close(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

void
inbox_fini(struct inboxes *boxes)
{
	for (unsigned i = 0; i < SHM_WORKERS_MAX; i++) {
		inbox_close(&boxes->in[i]);
		inbox_close(&boxes->out[i]);
	}
}

bool
inbox_open(struct inboxes *boxes, unsigned slot)
{
	int pair[2];

	if (boxes->in[slot] != -1)
		return true;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
	    0, pair) == -1)
		return false;
	boxes->in[slot] = pair[0];
	boxes->out[slot] = pair[1];
	return true;
}

void
inbox_close_others(struct inboxes *boxes, unsigned slot)
{
	for (unsigned i = 0; i < SHM_WORKERS_MAX; i++)
		if (i == slot)
			inbox_close(&boxes->in[i]);
		else
			inbox_close(&boxes->out[i]);
}

void
inbox_forward(const struct inboxes *boxes, unsigned from, unsigned to)
{
	char msg[INBOX_MESSAGE_MAX];
	int fds[FDPASS_MAX];
	ssize_t len;
	bool sent;
	size_t n;

	do {
		len = fdpass_recv(boxes->out[from], msg, sizeof(msg), fds, &n);
		if (len <= 0)
			return;
		sent = fdpass_send(boxes->in[to], msg, (size_t)len, fds, n);
		/* Back into its own, for the next time. */
		if (!sent)
			(void)!fdpass_send(boxes->in[from], msg, (size_t)len,
			    fds, n);
		while (n > 0)
			close(fds[--n]);
	} while (sent);
}

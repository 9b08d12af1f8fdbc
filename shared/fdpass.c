#include "shared/fdpass.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

union fdpass_room {
	struct cmsghdr	 head;
	char		 bytes[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
};

bool
fdpass_send(int sock, const void *p, size_t len, const int *fds, size_t n)
{
	struct iovec iov = { .iov_base = (void *)p, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fdpass_room room;
	struct cmsghdr *c;
	ssize_t sent;

	ASSERT(n <= FDPASS_MAX);
	if (n > 0) {
		msg.msg_control = &room;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		memset(&room, 0, msg.msg_controllen);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	do {
		sent = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent == -1 && errno == EINTR);
	return sent == (ssize_t)len;
}

/* The descriptors that came with MSG. */
static size_t
fdpass_take(struct msghdr *msg, int fds[FDPASS_MAX])
{
	struct cmsghdr *c;
	size_t n = 0, more;

	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		more = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		ASSERT(n + more <= FDPASS_MAX);
		memcpy(fds + n, CMSG_DATA(c), more * sizeof(int));
		n += more;
	}
	return n;
}

ssize_t
fdpass_recv(int sock, void *p, size_t room, int fds[FDPASS_MAX], size_t *n)
{
	struct iovec iov = { .iov_base = p, .iov_len = room };
	union fdpass_room space;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &space, .msg_controllen = sizeof(space)
	};
	ssize_t len;

	*n = 0;
	do {
		len = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (len == -1 && errno == EINTR);
	if (len < 0)
		return -1;
	*n = fdpass_take(&msg, fds);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
		return len;
	/* A table of descriptors that is full cuts them off, too. */
	while (*n > 0)
		close(fds[--*n]);
	errno = EPROTO;
	return -1;
}

/*
 * hosts.h: addresses as people write them.
 *
 * "ip:port", "name:port", "[ipv6]:port", or a unix socket's path, which begins
 * with a slash.  A port is 1 to 65535 in digits alone.  Each error is a phrase
 * without the address, to be put behind it.
 */
#ifndef SHARED_HOSTS_H
#define SHARED_HOSTS_H

#include <sys/socket.h>

#include "shared/base.h"

#define HOSTS_NORMAL_MAX 272	/* bytes; a name, brackets and a port */

enum hosts_form {
	HOSTS_BAD,		/* no address */
	HOSTS_NAME,		/* must be looked up */
	HOSTS_NUMERIC,
	HOSTS_UNIX
};

/* The form of TEXT, without looking anything up.  HOSTS_BAD: *WHY says what
 * is wrong, a constant string.  Else *SA and *SA_LEN are set, but with
 * HOSTS_NAME the port alone (as in sockaddr_in). */
enum hosts_form hosts_parse(const char *text, struct sockaddr_storage *sa,
	    socklen_t *sa_len, const char **why) MUST_CHECK;

/* The address of TEXT; a name is looked up, which blocks, and an IPv4 address
 * is preferred, for that is where servers listen by default.  False: *WHY, as
 * above. */
bool	 hosts_resolve(const char *text, struct sockaddr_storage *sa,
	    socklen_t *sa_len, const char **why) MUST_CHECK;

/* TEXT, an address, in the form that all ways to write it have in common: the
 * case does not matter (but of paths), nor how a number is written.  Names that
 * lead to one address stay different. */
void	 hosts_normalize(const char *text, char dst[HOSTS_NORMAL_MAX]);

#endif /* SHARED_HOSTS_H */

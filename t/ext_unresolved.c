/*
 * ext_unresolved.c: an extension that needs a function nobody has.
 */
#include "ext/kvp_ext.h"

void	ext_nobody_has_this(void *ext);

const struct kvp_ext kvp_extension = {
	.abi = KVP_ABI,
	.size = sizeof(struct kvp_ext),
	.close = ext_nobody_has_this,
};

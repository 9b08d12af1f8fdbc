/*
 * ext_nosymbol.c: a shared object that is no extension.
 */
int	ext_nosymbol(void);

int
ext_nosymbol(void)
{
	return 1;
}

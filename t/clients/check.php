<?php
/*
 * check.php: what the PHP clients share.  A script ends with "done" and 0, or
 * names on standard output what is not as it should be and ends with 1.
 */
error_reporting(E_ALL);
set_error_handler(function ($level, $text, $file, $line) {
	if (!(error_reporting() & $level))
		return false;	/* silenced with @ */
	throw new ErrorException($text, 0, $level, $file, $line);
});
set_exception_handler(function ($e) {
	printf("%s: %s at %s:%d\n", get_class($e), $e->getMessage(),
	    basename($e->getFile()), $e->getLine());
	exit(1);
});

function shown($value)
{
	$text = is_array($value) ? json_encode($value,
	    JSON_INVALID_UTF8_SUBSTITUTE) : var_export($value, true);
	return strlen($text) > 200 ?
	    sprintf("%s... (%d bytes)", substr($text, 0, 200), strlen($text)) :
	    $text;
}

function check($what, $got, $want)
{
	if ($got === $want)
		return;
	printf("%s\n  wanted %s\n  got    %s\n", $what, shown($want),
	    shown($got));
	exit(1);
}

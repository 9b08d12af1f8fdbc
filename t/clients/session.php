<?php
/*
 * session.php HOST:PORT on|off WHAT ID [ARG]: a PHP session through
 * session.save_handler=memcached, locked; on: over the binary protocol.
 *
 *   count N    N times: open, add one to "n", close
 *   all        what a session can do; leaves ID behind for an hour
 *   hold       open, say "held", close when standard input ends
 *   fail       opening must fail, as somebody else holds it
 */
require __DIR__ . '/check.php';

[, $server, $binary, $what, $id] = $argv;
$options = [
    'session.save_handler' => 'memcached',
    'session.save_path' => $server,
    'session.use_cookies' => '0',
    'session.use_only_cookies' => '0',
    'session.cache_limiter' => '',
    'session.gc_maxlifetime' => '600',
    'memcached.sess_binary_protocol' => $binary,
    'memcached.sess_locking' => 'on',
    'memcached.sess_lock_wait_min' => '2',
    'memcached.sess_lock_wait_max' => '10',
    'memcached.sess_lock_retries' => $what === 'fail' ? '3' : '5000',
    'memcached.sess_lock_expire' => '60',
    'memcached.sess_prefix' => 'sess.',
];
foreach ($options as $name => $value)
	check("ini $name", ini_set($name, $value) !== false, true);

function open($id)
{
	session_id($id);
	check('session_start', session_start(), true);
}

/* What other clients see of KEY. */
function raw($key)
{
	global $server;

	$m = new Memcached();
	$m->addServer(...explode(':', $server));
	return $m->get($key);
}

if ($what === 'count') {
	for ($i = 0; $i < (int)$argv[5]; $i++) {
		open($id);
		$_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
		session_write_close();
	}
} elseif ($what === 'all') {
	open($id);
	check('a new session is empty', $_SESSION, []);
	check('the lock is there', raw("sess.lock.$id") === false, false);
	$data = ['name' => 'value', 'list' => [1, 2.5, null],
	    'long' => str_repeat('x', 100000)];
	$_SESSION = $data;
	session_write_close();
	check('the lock is gone', raw("sess.lock.$id"), false);
	check('it is stored', strlen(raw("sess.$id")) > 100000, true);
	open($id);
	check('what was stored', $_SESSION, $data);
	$_SESSION['more'] = 1;
	session_abort();
	check('no lock after an abort', raw("sess.lock.$id"), false);
	open($id);
	check('what an abort leaves', $_SESSION, $data);
	check('regenerate', session_regenerate_id(true), true);
	$new = session_id();
	check('a new id', $new === $id, false);
	session_write_close();
	check('the old one is gone', raw("sess.$id"), false);
	check('its lock too', raw("sess.lock.$id"), false);
	open($new);
	check('all of it moved', $_SESSION, $data);
	check('destroy', session_destroy(), true);
	check('nothing is left', raw("sess.$new"), false);
	check('no lock either', raw("sess.lock.$new"), false);
	/* A session that is only read is touched. */
	open($id);
	$_SESSION['n'] = 1;
	session_write_close();
	ini_set('session.gc_maxlifetime', '3600');
	open($id);
	check('to be touched', $_SESSION['n'], 1);
	session_write_close();
} elseif ($what === 'hold') {
	open($id);
	$_SESSION['holder'] = getmypid();
	echo "held\n";
	stream_get_contents(STDIN);
	session_write_close();
} elseif ($what === 'fail') {
	session_id($id);
	check('session_start of what is held', @session_start(), false);
} else {
	check('what to do', $what, 'one of four');
}
echo "done\n";

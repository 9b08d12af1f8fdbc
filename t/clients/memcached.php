<?php
/*
 * memcached.php HOST:PORT text|binary: php-memcached at work.  Leaves keys
 * ttl:* behind, whose remaining time the caller looks at.
 */
require __DIR__ . '/check.php';

[$host, $port] = explode(':', $argv[1]);
$binary = $argv[2] === 'binary';

function connect()
{
	global $host, $port, $binary;

	$m = new Memcached();
	$m->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
	$m->setOption(Memcached::OPT_TCP_NODELAY, true);
	$m->setOption(Memcached::OPT_COMPRESSION, false);
	$m->addServer($host, (int)$port);
	return $m;
}

/* GOT is WANT, and CODE is what the library says of it. */
function told($what, $got, $want, $code = Memcached::RES_SUCCESS)
{
	global $m;

	check($what, $got, $want);
	check("$what: result (" . $m->getResultMessage() . ")",
	    $m->getResultCode(), $code);
}

$m = connect();
$other = connect();

/* Values and misses. */
$m->set('k', 'old');
told('flush', $m->flush(), true);
told('get of nothing', $m->get('k'), false, Memcached::RES_NOTFOUND);
told('set', $m->set('k', 'v'), true);
told('get', $m->get('k'), 'v');
told('add of one that is', $m->add('k', 'x'), false,
    $binary ? Memcached::RES_DATA_EXISTS : Memcached::RES_NOTSTORED);
told('add', $m->add('k2', 'v2'), true);
told('replace', $m->replace('k2', 'new'), true);
told('replace of nothing', $m->replace('none', 'x'), false,
    $binary ? Memcached::RES_NOTFOUND : Memcached::RES_NOTSTORED);
told('append', $m->append('k', '-end'), true);
told('prepend', $m->prepend('k', 'begin-'), true);
told('append to nothing', $m->append('none', 'x'), false,
    Memcached::RES_NOTSTORED);
told('get of the three', $m->get('k'), 'begin-v-end');
told('another connection', $other->get('k'), 'begin-v-end');
told('delete', $m->delete('k'), true);
told('delete of nothing', $m->delete('k'), false, Memcached::RES_NOTFOUND);
told('get of the deleted', $m->get('k'), false, Memcached::RES_NOTFOUND);
told('the empty value', $m->set('empty', ''), true);
told('get of the empty value', $m->get('empty'), '');

/* Types: they are in the flags. */
$values = [
    'int' => 42, 'negative' => -7, 'float' => 1.5, 'yes' => true,
    'no' => false, 'null' => null, 'list' => [1, 'two', [3.5, null]],
    'map' => ['a' => 1, 'b' => ['c' => 'd']],
    'bytes' => implode('', array_map('chr', range(0, 255))),
    'line ends' => "END\r\nVALUE k 0 1\r\nx\r\n",
];
foreach ($values as $name => $value) {
	$key = 'type:' . str_replace(' ', '_', $name);
	told("set of $name", $m->set($key, $value), true);
	told("get of $name", $m->get($key), $value);
}
$m->setOption(Memcached::OPT_USER_FLAGS, 0x1234);
told('set with flags', $m->set('flags', 'v'), true);
$m->setOption(Memcached::OPT_USER_FLAGS, -1);
$got = $m->get('flags', null, Memcached::GET_EXTENDED);
told('flags', $got['flags'], 0x1234);
$m->setOption(Memcached::OPT_COMPRESSION, true);
$long = str_repeat('compress me ', 5000);
told('set of the compressed', $m->set('packed', $long), true);
told('get of the compressed', $m->get('packed'), $long);
told('getMulti of the compressed', $m->getMulti(['packed', 'none']),
    ['packed' => $long]);
$m->setOption(Memcached::OPT_COMPRESSION, false);

/* CAS. */
$m->set('cas', 'one');
$got = $m->get('cas', null, Memcached::GET_EXTENDED);
told('value with CAS', $got['value'], 'one');
told('cas', $m->cas($got['cas'], 'cas', 'two'), true);
told('cas that comes late', $m->cas($got['cas'], 'cas', 'three'), false,
    Memcached::RES_DATA_EXISTS);
told('cas of nothing', $m->cas($got['cas'], 'none', 'x'), false,
    Memcached::RES_NOTFOUND);
told('who won', $m->get('cas'), 'two');
$next = $m->get('cas', null, Memcached::GET_EXTENDED);
check('a store changes the CAS', $next['cas'] === $got['cas'], false);
$same = $other->get('cas', null, Memcached::GET_EXTENDED);
check('the CAS is the same for all', $same['cas'], $next['cas']);

/* Counters. */
told('increment of nothing', $m->increment('n'), false,
    Memcached::RES_NOTFOUND);
$m->set('n', 10);
told('increment', $m->increment('n', 5), 15);
told('decrement', $m->decrement('n', 6), 9);
told('decrement below 0', $m->decrement('n', 100), 0);
$m->set('word', 'abc');
check('increment of a word', @$m->increment('word'), false);
check('a word stays', $m->get('word'), 'abc');
if ($binary) {
	told('increment from an initial value',
	    $m->increment('ttl:counter', 5, 40, 500), 40);
	told('and then on', $m->increment('ttl:counter', 2, 40, 900), 42);
	told('decrement from an initial value', $m->decrement('d', 1, 7), 7);
	told('and then down', $m->decrement('d', 1, 7), 6);
	told('an initial 0', $m->increment('zero', 1, 0), 0);
	told('read as a value', $m->get('ttl:counter'), '42');
}

/* 500 keys, over all servers. */
$many = [];
for ($i = 0; $i < 500; $i++)
	$many["many:$i"] = str_repeat("value $i ", $i % 50 + 1);
told('setMulti', $m->setMulti($many, 500), true);
told('getMulti', $m->getMulti(array_merge(array_keys($many), ['none'])),
    $many);
told('getMulti in order', $m->getMulti(['none', 'many:3', 'many:1'],
    Memcached::GET_PRESERVE_ORDER),
    ['none' => null, 'many:3' => $many['many:3'],
    'many:1' => $many['many:1']]);
$found = $m->getMulti(array_keys($many), Memcached::GET_EXTENDED);
check('getMulti with CAS', array_map(fn($item) => $item['value'], $found),
    $many);
check('every key has its CAS', count(array_unique(array_map(
    fn($item) => $item['cas'], $found))) > 100, true);
told('cas by getMulti', $m->cas($found['many:7']['cas'], 'many:7', 'new'),
    true);
told('getDelayed', $m->getDelayed(array_keys($many), true), true);
$delayed = [];
while ($item = $m->fetch())
	$delayed[$item['key']] = $item['value'];
ksort($delayed);
$want = array_merge($many, ['many:7' => 'new']);
ksort($want);
check('fetch', $delayed, $want);
check('getMulti of nothing', $m->getMulti(['no1', 'no2', 'no3']), []);
check('deleteMulti', $m->deleteMulti(['many:1', 'many:2', 'none']),
    ['many:1' => true, 'many:2' => true,
    'none' => Memcached::RES_NOTFOUND]);
check('getMulti of the deleted',
    $m->getMulti(['many:0', 'many:1', 'many:2']),
    ['many:0' => $many['many:0']]);

/* Keys and values at their bounds. */
$key = str_repeat('k', 250);
told('set of a key of 250 bytes', $m->set($key, 'long'), true);
told('get of it', $m->get($key), 'long');
told('getMulti of it', $m->getMulti([$key, 'none']), [$key => 'long']);
told('increment-like words in keys', $m->set('get:set:0', 'v'), true);
told('set of a key of 251 bytes', $m->set($key . 'k', 'v'), false,
    Memcached::RES_BAD_KEY_PROVIDED);
$block = implode('', array_map(fn($i) => chr($i * 7 & 255), range(0, 1023)));
foreach ([2048, 16384, 100000, 1024 * 1024 - 512] as $size) {
	$big = substr(str_repeat($block, 1024), 0, $size);
	told("set of $size bytes", $m->set('big', $big), true);
	check("get of $size bytes", $m->get('big') === $big, true);
	check("getMulti of $size bytes",
	    $m->getMulti(['none', 'big']) === ['big' => $big], true);
}
told('append to the large', $m->append('big', 'tail'), true);
check('the large with its tail', $m->get('big') === $big . 'tail', true);
told('a value too large', $m->set('big', str_repeat('x', 1024 * 1024 + 1)),
    false, Memcached::RES_E2BIG);
told('the connection after that', $m->set('after', 'v'), true);
told('get after that', $m->get('after'), 'v');

/* Expiry. */
told('set that expires', $m->set('ttl:set', 'v', 500), true);
told('set that expires at a time', $m->set('ttl:time', 'v', time() + 500),
    true);
$m->set('ttl:touch', 'v', 100);
told('touch', $m->touch('ttl:touch', 500), true);
told('get of the touched', $m->get('ttl:touch'), 'v');
told('touch of nothing', $m->touch('none', 500), false,
    Memcached::RES_NOTFOUND);
$m->set('ttl:never', 'v', 100);
told('touch for ever', $m->touch('ttl:never', 0), true);

/* Without waiting for answers. */
$quick = connect();
$quick->setOption(Memcached::OPT_BUFFER_WRITES, true);
for ($i = 0; $i < 100; $i++)
	$quick->set("buffered:$i", $i);
check('flushBuffers', $quick->flushBuffers(), true);
check('buffered', $quick->get('buffered:0'), 0);
check('buffered, the last', $m->get('buffered:99'), 99);
$quick = connect();
$quick->setOption(Memcached::OPT_NO_BLOCK, true);
$quick->setOption(Memcached::OPT_NOREPLY, true);
for ($i = 0; $i < 100; $i++)
	$quick->set("noreply:$i", $i);
$quick->delete('noreply:5');
$quick->setOption(Memcached::OPT_NOREPLY, false);
check('no reply', $quick->get('noreply:99'), 99);
check('no reply to delete', $quick->get('noreply:5'), false);

/* Numbers and the end. */
$stats = $m->getStats();
check('stats of one server', array_keys($stats), [$argv[1]]);
foreach (['pid', 'uptime', 'curr_connections', 'cmd_get', 'cmd_set',
    'get_hits', 'get_misses'] as $name)
	check("stat $name", $stats[$argv[1]][$name] >= 0, true);
check('sets were counted', $stats[$argv[1]]['cmd_set'] > 500, true);
foreach (['latency' => 'read:p99_us', 'workers' => '1:pid',
    'settings' => 'slow_ms'] as $kind => $name)
	check("stat $name", isset($m->getStats($kind)[$argv[1]][$name]), true);
$version = $m->getVersion();
check('version', preg_match('/^\d+\.\d+\.\d+$/', $version[$argv[1]]), 1);
told('quit', $m->quit(), true);
told('a connection anew', $m->get('after'), 'v');
told('flush later', $m->flush(3600), true);
told('not yet', $m->get('after'), 'v');
echo "done\n";

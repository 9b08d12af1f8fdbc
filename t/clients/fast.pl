# fast.pl HOST:PORT: Cache::Memcached::Fast at work.  It ends with "done" and
# 0, or names what is not as it should be and ends with 1.  Leaves keys ttl:*
# behind, whose remaining time the caller looks at.
use strict;
use warnings;
use Cache::Memcached::Fast;
use Data::Dumper;

$Data::Dumper::Indent = 0;
$Data::Dumper::Sortkeys = 1;
$Data::Dumper::Terse = 1;
$Data::Dumper::Useqq = 1;

my ($address) = @ARGV;

sub shown {
	my $text = Dumper(@_);
	return length($text) < 200 ? $text : substr($text, 0, 200) . '...';
}

# Numbers and strings are alike, as they are on the wire.
sub plain {
	my ($v) = @_;
	return [map { plain($_) } @$v] if ref $v eq 'ARRAY';
	return {map { $_ => plain($v->{$_}) } keys %$v} if ref $v eq 'HASH';
	return defined $v ? "$v" : undef;
}

sub check {
	my ($what, $got, $want) = @_;
	($got, $want) = (plain($got), plain($want));
	return if Dumper($got) eq Dumper($want);
	print "$what\n  wanted ", shown($want), "\n  got    ", shown($got),
	    "\n";
	exit 1;
}

sub is_yes {
	my ($what, $got) = @_;
	check("$what: a yes", $got ? 1 : 0, 1);
}

# The server said no; an error would be undef.
sub is_no {
	my ($what, $got) = @_;
	check("$what: a no, not an error", defined $got && !$got ? 1 : 0, 1);
}

sub client {
	return Cache::Memcached::Fast->new({
		servers => [$address], connect_timeout => 10,
		io_timeout => 20, @_,
	});
}

my $m = client();
my $other = client();

# Values and misses.
$m->set('k', 'old');
check('flush_all', $m->flush_all, {$address => 1});
check('get of nothing', $m->get('k'), undef);
is_yes('set', $m->set('k', 'v'));
check('get', $m->get('k'), 'v');
is_no('add of one that is', $m->add('k', 'x'));
is_yes('add', $m->add('k2', 'v2'));
is_yes('replace', $m->replace('k2', 'new'));
is_no('replace of nothing', $m->replace('none', 'x'));
is_yes('append', $m->append('k', '-end'));
is_yes('prepend', $m->prepend('k', 'begin-'));
is_no('append to nothing', $m->append('none', 'x'));
check('another connection', $other->get('k'), 'begin-v-end');
is_yes('delete', $m->delete('k'));
is_no('delete of nothing', $m->delete('k'));
check('get of the deleted', $m->get('k'), undef);
is_yes('the empty value', $m->set('empty', ''));
check('get of the empty value', $m->get('empty'), '');

# What the flags tell: structures, compression, characters.
my $data = {list => [1, 'two', [3.5]], map => {a => 'b'}};
is_yes('set of a structure', $m->set('data', $data));
check('get of it', $m->get('data'), $data);
my $packer = client(compress_threshold => 1000);
my $long = 'compress me ' x 5000;
is_yes('set of the compressed', $packer->set('packed', $long));
check('get of the compressed', $packer->get('packed'), $long);
my $utf8 = client(utf8 => 1);
is_yes('set of characters', $utf8->set('utf8', "\x{263a}\x{e9}"));
check('get of characters', $utf8->get('utf8'), "\x{263a}\x{e9}");
my $bytes = join '', map { chr } 0 .. 255;
is_yes('set of bytes', $m->set('bytes', $bytes));
check('get of bytes', $m->get('bytes'), $bytes);
is_yes('set of line ends', $m->set('lines', "END\r\nVALUE k 0 1\r\nx\r\n"));
check('get of line ends', $m->get('lines'), "END\r\nVALUE k 0 1\r\nx\r\n");

# CAS.
check('gets of nothing', $m->gets('none'), undef);
$m->set('cas', 'one');
my $got = $m->gets('cas');
check('value with CAS', $got->[1], 'one');
is_yes('cas', $m->cas('cas', $got->[0], 'two'));
is_no('cas that comes late', $m->cas('cas', $got->[0], 'three'));
is_no('cas of nothing', $m->cas('none', $got->[0], 'x'));
check('who won', $m->get('cas'), 'two');

# Counters.
is_no('incr of nothing', $m->incr('n'));
$m->set('n', 10);
check('incr', $m->incr('n', 5), 15);
check('decr', $m->decr('n', 6), 9);
check('decr below 0', $m->decr('n', 100), '0E0');
$m->set('word', 'abc');
check('incr of a word', $m->incr('word'), undef);
check('a word stays', $m->get('word'), 'abc');

# 500 keys at once.
my %many = map { ("many:$_" => "value $_ " x ($_ % 50 + 1)) } 0 .. 499;
my @names = sort keys %many;
my @done = $m->set_multi(map { [$_, $many{$_}, 500] } @names);
check('set_multi', scalar(grep { $_ } @done), 500);
check('get_multi', $m->get_multi(@names, 'none'), \%many);
my $with = $m->gets_multi(@names, 'none');
check('gets_multi', {map { $_ => $with->{$_}[1] } keys %$with}, \%many);
check('gat_multi', $m->gat_multi(600, @names, 'none'), \%many);
my $changed = $m->cas_multi(map { [$_, $with->{$_}[0], 'new'] } @names[0 .. 9]);
check('cas_multi', scalar(grep { $_ } values %$changed), 10);
$changed = $m->cas_multi(map { [$_, $with->{$_}[0], 'new'] } @names[0 .. 19]);
check('cas_multi, ten late', scalar(grep { $_ } values %$changed), 10);
check('add_multi', [$m->add_multi(['a1', 1], ['a2', 2], [$names[0], 3])],
    [1, 1, '']);
check('incr_multi', [$m->incr_multi(['a1', 10], 'a2')], [11, 3]);
check('append_multi', [$m->append_multi(['a1', 0], ['none', 0])], [1, '']);
check('touch_multi', [$m->touch_multi(['a1', 500], ['none', 500])], [1, '']);
check('delete_multi', [$m->delete_multi('a1', 'a2', 'none')], [1, 1, '']);
check('get_multi of nothing', $m->get_multi('a1', 'a2', 'none'), {});

# Keys and values at their bounds.
my $key = 'k' x 250;
is_yes('set of a key of 250 bytes', $m->set($key, 'long'));
check('get of it', $m->get($key), 'long');
my $spaced = client(namespace => 'n' x 100 . ':');
is_yes('set in a namespace', $spaced->set('k' x 149, 'inside'));
check('get in a namespace', $spaced->get('k' x 149), 'inside');
check('the whole key', $m->get('n' x 100 . ':' . 'k' x 149), 'inside');
my $block = join '', map { chr($_ * 7 & 255) } 0 .. 1023;
my $big;
for my $size (2048, 16384, 100000, 1024 * 1024 - 512) {
	$big = substr $block x 1024, 0, $size;
	is_yes("set of $size bytes", $m->set('big', $big));
	check("get of $size bytes", $m->get('big') eq $big, 1);
	check("get_multi of $size bytes",
	    $m->get_multi('none', 'big')->{big} eq $big, 1);
}
is_yes('append to the large', $m->append('big', 'tail'));
check('the large with its tail', $m->get('big') eq $big . 'tail', 1);
my $greedy = client(max_size => 2 * 1024 * 1024);
check('a value too large',
    $greedy->set('big', 'x' x (1024 * 1024 + 1)), undef);
is_yes('a store after that', $greedy->set('after', 'v'));

# Expiry.
is_yes('set that expires', $m->set('ttl:set', 'v', 500));
is_yes('set that expires at a time', $m->set('ttl:time', 'v', time() + 500));
$m->set('ttl:touch', 'v', 100);
is_yes('touch', $m->touch('ttl:touch', 500));
is_no('touch of nothing', $m->touch('none', 500));
$m->set('ttl:gat', 'v', 100);
check('gat', $m->gat(500, 'ttl:gat'), 'v');
check('gat of nothing', $m->gat(500, 'none'), undef);
$m->set('ttl:gats', 'v', 100);
$got = $m->gats(500, 'ttl:gats');
check('gats', $got->[1], 'v');
is_yes('cas after gats', $m->cas('ttl:gats', @$got, 500));
is_yes('set that never expires', $m->set('ttl:never', 'v', 0));

# Without waiting for answers: unread ones, and noreply.
my $noreply = {address => $address, noreply => 1};
for my $how ({nowait => 1}, {servers => [$noreply]}) {
	my $quick = client(%$how);
	my $name = join '', sort keys %$how;
	$quick->set("$name:$_", $_) for 0 .. 99;
	$quick->set_multi(map { ["$name:$_", $_ * 2] } 50 .. 99);
	$quick->incr("$name:7", 10);
	$quick->delete("$name:5");
	$quick->add("$name:6", 'x');
	$quick->append("$name:8", 'x');
	$quick->touch("$name:9", 1000);
	$quick->nowait_push;
	check("$name", $quick->get_multi(map { "$name:$_" } 5 .. 9, 99), {
		"$name:6" => 6, "$name:7" => 17, "$name:8" => '8x',
		"$name:9" => 9, "$name:99" => 198,
	});
}

my $version = $m->server_versions;
check('versions', [keys %$version], [$address]);
check('version', $version->{$address} =~ /^\d+\.\d+\.\d+/ ? 1 : 0, 1);
$m->flush_all(3600);
$m->disconnect_all;
check('a connection anew', $m->get('after'), 'v');
print "done\n";

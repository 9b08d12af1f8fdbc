# dalli.rb HOST:PORT binary|meta BACKEND: Dalli at work, over servers that are
# spoken to in BACKEND.  It ends with "done" and 0, or names what is not as it
# should be and ends with 1.  Leaves keys ttl:* behind, whose remaining time
# the caller looks at.
require 'dalli'

ADDRESS, DIALECT, BACKEND = ARGV
Dalli.logger.level = Logger::FATAL

def shown(value)
  text = value.inspect
  text.length < 200 ? text : "#{text[0, 200]}... (#{text.length} characters)"
end

def check(what, got, want)
  return if got == want

  puts what, "  wanted #{shown(want)}", "  got    #{shown(got)}"
  exit 1
end

def yes(what, got)
  check("#{what}: a yes", got ? true : false, true)
end

def no(what, got)
  check("#{what}: a no", got ? true : false, false)
end

def raised(what, kind)
  yield
  check(what, 'nothing raised', kind)
rescue Dalli::DalliError => e
  check(what, e.class, kind)
end

def client(options = {})
  defaults = { protocol: DIALECT.to_sym, socket_timeout: 20, failover: false }
  Dalli::Client.new(ADDRESS, defaults.merge(options))
end

# Releases before 3.1 take the option and speak the binary protocol.
if DIALECT == 'meta'
  check('meta is known', defined?(Dalli::Protocol::Meta), 'constant')
end

RAW = { raw: true }.freeze
m = client
other = client

# Values and misses.
m.set('k', 'old')
check('flush', m.flush, [true])
check('get of nothing', m.get('k'), nil)
yes('set', m.set('k', 'v'))
check('get', m.get('k'), 'v')
no('add of one that is', m.add('k', 'x'))
yes('add', m.add('k2', 'v2'))
yes('replace', m.replace('k2', 'new'))
m.replace('none', 'x')	# gives 0 or false, as the dialect has it
check('replace of nothing', m.get('none'), nil)
check('replaced', m.get('k2'), 'new')
m.set('raw', 'v', nil, RAW)
yes('append', m.append('raw', '-end'))
yes('prepend', m.prepend('raw', 'begin-'))
no('append to nothing', m.append('none', 'x'))
check('another connection', other.get('raw'), 'begin-v-end')
yes('delete', m.delete('k'))
no('delete of nothing', m.delete('k'))
check('get of the deleted', m.get('k'), nil)
yes('the empty value', m.set('empty', '', nil, RAW))
check('get of the empty value', m.get('empty'), '')
check('fetch of nothing', m.fetch('fetched') { 'made' }, 'made')
check('fetch', m.fetch('fetched') { 'made anew' }, 'made')

# Types and compression: they are in the flags.
{ 'int' => 42, 'negative' => -7, 'float' => 1.5, 'yes' => true,
  'no' => false, 'symbol' => :s, 'list' => [1, 'two', [3.5, nil]],
  'map' => { a: 1, 'b' => { 'c' => 'd' } },
  'bytes' => (0..255).map(&:chr).join.b,
  'lines' => "END\r\nVALUE k 0 1\r\nx\r\n" }.each do |name, value|
  yes("set of #{name}", m.set("type:#{name}", value))
  check("get of #{name}", m.get("type:#{name}"), value)
end
packer = client(compress: true, compression_min_size: 1000)
long = 'compress me ' * 5000
yes('set of the compressed', packer.set('packed', long))
check('get of the compressed', packer.get('packed'), long)

# CAS.
check('cas of nothing', m.cas('none') { |_| 'x' }, nil)
m.set('cas', 'one')
yes('cas', m.cas('cas') { |value| "#{value} two" })
check('after cas', m.get('cas'), 'one two')
late = m.cas('cas') do |_|
  other.set('cas', 'other')
  'mine'
end
check('cas that comes late', late, false)
check('who won', m.get('cas'), 'other')
value, cas = m.get_cas('cas')
check('value with CAS', value, 'other')
yes('a CAS', cas.positive?)
yes('set_cas', m.set_cas('cas', 'three', cas))
no('set_cas that comes late', m.set_cas('cas', 'four', cas))
no('replace_cas that comes late', m.replace_cas('cas', 'four', cas))
check('no late one won', m.get('cas'), 'three')
_, cas = m.get_cas('cas')
yes('replace_cas', m.replace_cas('cas', 'four', cas))
if DIALECT == 'binary' && BACKEND == 'meta'
  cas = m.set('cas', 'five')
  check('a set brings its CAS', m.get_cas('cas'), ['five', cas])
  yes('which a set_cas can use', m.set_cas('cas', 'four', cas))
end
if BACKEND == 'text'
  raised('delete_cas', Dalli::DalliError) { m.delete_cas('cas', cas) }
  check('no delete without its CAS', m.get('cas'), 'four')
else
  no('delete_cas that comes late', m.delete_cas('cas', cas))
  check('a late delete', m.get('cas'), 'four')
  _, cas = m.get_cas('cas')
  yes('delete_cas', m.delete_cas('cas', cas))
  check('after delete_cas', m.get('cas'), nil)
end

# Counters.
check('incr of nothing', m.incr('n'), nil)
check('incr from a default', m.incr('ttl:counter', 5, 500, 40), 40)
check('and then on', m.incr('ttl:counter', 2, 900, 40), 42)
check('decr from a default', m.decr('d', 1, nil, 7), 7)
check('and then down', m.decr('d', 10, nil, 7), 0)
check('a default of 0', m.incr('zero', 1, nil, 0), 0)
check('and then 1', m.incr('zero', 1, nil, 0), 1)
m.set('n', '18446744073709551614', nil, RAW)
check('incr to the largest', m.incr('n'), 18_446_744_073_709_551_615)
check('incr over the largest', m.incr('n'), 0)
m.set('word', 'abc', nil, RAW)
raised('incr of a word', Dalli::DalliError) { m.incr('word') }
check('a word stays', m.get('word'), 'abc')

# 500 keys, quiet stores, pipelined reads.
many = (0...500).to_h { |i| ["many:#{i}", "value #{i} " * (i % 50 + 1)] }
(m.respond_to?(:quiet) ? m.method(:quiet) : m.method(:multi)).call do
  many.each { |key, val| m.set(key, val, 500) }
  m.set('quiet:gone', 'v')
  m.delete('quiet:gone')
  m.delete('none')
  m.add('many:1', 'there is one')
  m.replace('none', 'there is none')
end
check('after the quiet ones', m.get('many:499'), many['many:499'])
check('a quiet delete', m.get('quiet:gone'), nil)
check('get_multi', m.get_multi(many.keys + ['none']), many)
with = m.get_multi_cas(many.keys + ['none'])
check('get_multi_cas', with.transform_values(&:first), many)
yes('every key has its CAS', with.values.map(&:last).uniq.size > 100)
yes('set_cas of one of many', m.set_cas('many:7', 'new', with['many:7'][1]))
no('once only', m.set_cas('many:7', 'newer', with['many:7'][1]))
check('get_multi of nothing', m.get_multi('no1', 'no2', 'no3'), {})
check('get_multi again', m.get_multi(many.keys),
      many.merge('many:7' => 'new'))

# Keys and values at their bounds.
key = 'k' * 250
yes('set of a key of 250 bytes', m.set(key, 'long'))
check('get of it', m.get(key), 'long')
check('get_multi of it', m.get_multi(key, 'none'), { key => 'long' })
block = (0...1024).map { |i| (i * 7 & 255).chr }.join.b
big = nil
[2048, 16_384, 100_000, 1024 * 1024 - 512].each do |size|
  big = (block * 1024)[0, size]
  keep = RAW.merge(compress: false)
  yes("set of #{size} bytes", m.set('big', big, nil, keep))
  check("get of #{size} bytes", m.get('big') == big, true)
  check("get_multi of #{size} bytes", m.get_multi('none', 'big') ==
        { 'big' => big }, true)
end
yes('append to the large', m.append('big', 'tail'))
check('the large with its tail', m.get('big') == "#{big}tail", true)
greedy = client(value_max_bytes: 2 * 1024 * 1024, compress: false)
raised('a value too large', Dalli::DalliError) do
  greedy.set('big', 'x' * (1024 * 1024 + 1), nil, RAW)
end
yes('a store after that', greedy.set('after', 'v'))
check('get after that', greedy.get('after'), 'v')

# Expiry.
yes('set that expires', m.set('ttl:set', 'v', 500))
yes('set that expires at a time', m.set('ttl:time', 'v', Time.now.to_i + 500))
m.set('ttl:touch', 'v', 100)
yes('touch', m.touch('ttl:touch', 500))
no('touch of nothing', m.touch('none', 500))
m.set('ttl:gat', 'v', 100)
check('gat', m.gat('ttl:gat', 500), 'v')
check('gat of nothing', m.gat('none', 500), nil)
yes('set that never expires', m.set('ttl:never', 'v', 0))

# Numbers and the end.
stats = m.stats
check('stats of one server', stats.keys, [ADDRESS])
%w[pid uptime curr_connections cmd_get cmd_set get_hits].each do |name|
  check("stat #{name}", stats[ADDRESS].key?(name), true)
end
yes('sets were counted', stats[ADDRESS]['cmd_set'].to_i > 500)
check('version', m.version[ADDRESS].match?(/^\d+\.\d+\.\d+/), true)
check('alive', m.alive!.nil?, false)
m.close
check('a connection anew', m.get('after'), 'v')
puts 'done'

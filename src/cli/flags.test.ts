import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlagError, bool, int, list, parseFlags, refused, string } from './flags.ts';

const table = {
  detach: bool('', { short: 'd' }),
  interactive: bool('', { short: 'i' }),
  tty: bool('', { short: 't' }),
  'sig-proxy': bool('', { initial: true }),
  name: string(''),
  env: list('', { short: 'e' }),
  publish: list('', { short: 'p' }),
  gpus: refused('gpu-request'),
} as const;

const parse = (...words: string[]): ReturnType<typeof parseFlags<typeof table>> =>
  parseFlags(table, words, { interspersed: false });

function message(...words: string[]): string {
  try {
    parse(...words);
  } catch (error) {
    assert.ok(error instanceof FlagError);
    return error.message;
  }
  return 'no error';
}

test('long flags take their value behind = or as the next word', () => {
  assert.equal(parse('--name=x').flags.name, 'x');
  assert.equal(parse('--name', 'x').flags.name, 'x');
  assert.equal(parse('--name=').flags.name, '');
  assert.equal(parse('--name', '--env').flags.name, '--env');
});

test('booleans take a value only behind =', () => {
  assert.equal(parse('--detach').flags.detach, true);
  assert.equal(parse('--detach=false').flags.detach, false);
  assert.equal(parse('--sig-proxy=0').flags['sig-proxy'], false);
  assert.deepEqual(parse('--detach', 'false').args, ['false']);
});

test('short flags combine, and the last one takes a value', () => {
  const { flags, args } = parse('-itdp', '80:80', 'image');
  assert.deepEqual([flags.interactive, flags.tty, flags.detach, flags.publish], [true, true, true, ['80:80']]);
  assert.deepEqual(args, ['image']);
  assert.deepEqual(parse('-p80:80').flags.publish, ['80:80']);
  assert.deepEqual(parse('-p=80:80').flags.publish, ['80:80']);
  assert.equal(parse('-d=false').flags.detach, false);
});

test('repeatable flags add up', () => {
  assert.deepEqual(parse('-e', 'A=1', '--env', 'B=2', '-eC').flags.env, ['A=1', 'B=2', 'C']);
});

test('flags end at the first argument unless they may be anywhere', () => {
  assert.deepEqual(parse('-d', 'image', '-t', '--name', 'x').args, ['image', '-t', '--name', 'x']);
  assert.deepEqual(parseFlags(table, ['image', '-d', 'cmd']).args, ['image', 'cmd']);
});

test('two dashes end the flags', () => {
  assert.deepEqual(parse('-d', '--', '-t').args, ['-t']);
  assert.deepEqual(parseFlags(table, ['a', '--', '-d']).args, ['a', '-d']);
  assert.deepEqual(parse('-').args, ['-']);
});

test('what was given is told apart from defaults', () => {
  assert.deepEqual([...parse('--name', '', '-d').given], ['name', 'detach']);
});

test('help is asked for by --help and, where -h is nothing else, -h', () => {
  assert.equal(parse('--help').help, true);
  assert.equal(parse('-h').help, true);
  assert.equal(parse('image', '--help').help, false);
  assert.equal(parse('--help=false').help, false);
});

test('mistakes are named as docker names them', () => {
  assert.equal(message('--foo'), 'unknown flag: --foo');
  assert.equal(message('--foo=x'), 'unknown flag: --foo');
  assert.equal(message('-Z'), "unknown shorthand flag: 'Z' in -Z");
  assert.equal(message('-iZt'), "unknown shorthand flag: 'Z' in -Zt");
  assert.equal(message('--name'), 'flag needs an argument: --name');
  assert.equal(message('-de'), "flag needs an argument: 'e' in -e");
  assert.equal(
    message('--detach=maybe'),
    'invalid argument "maybe" for "-d, --detach" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
  );
  assert.equal(message('--=x'), 'bad flag syntax: --=x');
  assert.equal(message('---x'), 'bad flag syntax: ---x');
});

test('what Keelson cannot do is refused rather than ignored', () => {
  assert.equal(message('--gpus', 'all'), 'invalid argument "all" for "--gpus" flag: not supported by keelson');
});

test('integers are those of Go', () => {
  const flags = { n: int('', { short: 'n' }), w: int('', { type: 'uint16' }) } as const;
  const n = (text: string): number | undefined => parseFlags(flags, ['-n', text]).flags.n;
  assert.deepEqual([n('10'), n('-1'), n('0x10'), n('010'), n('+3')], [10, -1, 16, 8, 3]);
  assert.throws(() => n('x'), /invalid argument "x" for "-n, --n" flag: strconv.ParseInt: parsing "x": invalid syntax/);
  assert.throws(() => n('99999999999999999999'), /value out of range/);
  assert.throws(() => parseFlags(flags, ['--w', '70000']), /strconv.ParseUint: parsing "70000": value out of range/);
  assert.throws(() => parseFlags(flags, ['--w', '-1']), /invalid syntax/);
});

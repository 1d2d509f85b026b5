import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Entry, root, sections } from './program.ts';
import { commandHelp } from './usage.ts';

function* leaves(group: Entry, path: readonly string[] = []): Generator<readonly [readonly string[], Entry]> {
  for (const [name, entry] of Object.entries(group.commands ?? {})) {
    const own = [...path, name];
    if (entry.commands) yield* leaves(entry, own);
    else yield [own, entry];
  }
}

test('every word of the table is a command with a help text that names it and its flags', async () => {
  let count = 0;
  for (const [path, entry] of leaves(root)) {
    const name = path.join(' ');
    assert.ok(entry.load, name);
    const { command } = await entry.load();
    const help = commandHelp(name, command);
    assert.ok(help.startsWith(`Usage:  keelson ${name}`), help);
    for (const line of help.split('\n')) assert.ok(line.length <= 100, `too long for a terminal: ${line}`);
    for (const [flag, { hidden, help: text }] of Object.entries(command.flags)) {
      assert.equal(new RegExp(`--${flag}[ \n]`).test(help), !hidden, `${name} --${flag}`);
      if (!hidden) assert.notEqual(text, '', `${name} --${flag} is not explained`);
    }
    const shorts = Object.values(command.flags).flatMap(({ short }) => short ?? []);
    assert.equal(new Set(shorts).size, shorts.length, `${name}: a letter stands for two flags`);
    count++;
  }
  assert.ok(count > 70, `only ${count} commands`);
});

test('the sections of the root help name commands', () => {
  for (const { names } of sections) for (const name of names) assert.ok(root.commands?.[name], name);
});

test('a command under two names is the same', async () => {
  const load = async (...path: string[]): Promise<unknown> => {
    let entry: Entry | undefined = root;
    for (const word of path) entry = entry?.commands?.[word];
    return (await entry?.load?.())?.command;
  };
  assert.equal(await load('ps'), await load('container', 'ls'));
  assert.equal(await load('images'), await load('image', 'ls'));
  assert.equal(await load('rmi'), await load('image', 'rm'));
  assert.equal(await load('events'), await load('system', 'events'));
});

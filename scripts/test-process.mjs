// Runs a program of the tests so that it ends in time, and so that whatever it has started, however detached, is found.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const variable = 'KEELSON_TEST_MARK';
let runs = 0;

/**
 * Waits until the program itself has ended, not until its pipes are closed. `stdio` as for spawn.
 * Returns why it is to be seen as failed: an exit code, a time-out, processes left behind; an empty list when all is well.
 */
export async function runProgram(
  command,
  args,
  { env = {}, minutes = 10, stdio = ['ignore', 'inherit', 'inherit'] } = {},
) {
  const mark = `${process.pid}-${++runs}`;
  const marked = () => processesWith(`${variable}=${mark}`);
  const child = spawn(command, args, { stdio, env: { ...process.env, ...env, [variable]: mark }, detached: true });
  const stop = () => {
    // The group first: it may be about to start something.
    for (const pid of [-(child.pid ?? 0), ...marked().map((left) => left.pid)]) killed(pid);
  };
  process.once('exit', stop);
  const problems = [];
  const timer = setTimeout(() => {
    problems.push(`not done after ${minutes} minutes; stopped, with ${marked().map(named).join(', ')}`);
    stop();
  }, minutes * 60_000);
  const code = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (exit, signal) => resolve(exit ?? signal));
  });
  clearTimeout(timer);
  process.off('exit', stop);
  if (code !== 0 && problems.length === 0) problems.push(`ended with ${code}`);
  const left = await patiently(marked);
  for (const { pid } of left) killed(pid);
  if (left.length > 0) problems.push(`left running: ${left.map(named).join(', ')}`);
  return problems;
}

const named = ({ pid, words }) => `${pid} ${words.slice(0, 150)}`;

function killed(pid) {
  try {
    if (pid !== 0) process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function processesWith(text) {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(text)) return [];
      return [{ pid: Number(pid), words: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() }];
    } catch {
      return [];
    }
  });
}

/** What is there, unless it goes away within two seconds. */
async function patiently(look) {
  const deadline = Date.now() + 2000;
  let found = look();
  while (found.length > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    found = look();
  }
  return found;
}

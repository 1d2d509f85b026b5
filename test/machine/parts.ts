/** Where the machine's parts lie, and how its programs are called. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export const checkout: string = join(import.meta.dirname, '../..');
export const cache: string = join(import.meta.dirname, 'cache');

/** Standard output of a program that must succeed. */
export async function output(command: string, args: readonly string[], cwd?: string): Promise<string> {
  const { stdout } = await execute(command, args, { cwd, maxBuffer: 64 << 20 });
  return stdout;
}

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { fromSystemError, KeelsonError } from '../../../ground/errors.ts';
import { groupPids } from '../../../runtime/lifecycle/discard.ts';
import type { Command } from '../session.ts';

export const ps: Command = {
  flags: { format: { kind: 'text', short: ['f'] } },
  first: true,
  async run({ call, host }, args) {
    const [id, ...words] = args.words;
    if (id === undefined)
      throw new KeelsonError('invalid-argument', 'ps needs at least 1 argument: the ID of a container');
    const format = args.text('format') ?? 'table';
    if (format !== 'table' && format !== 'json') throw new KeelsonError('invalid-argument', 'invalid format option');
    const { state } = host.store.find(id);
    if (!state.keelson.cgroup)
      throw new KeelsonError('unsupported', 'unable to get all container pids: the container has no cgroup of its own');
    const pids = groupPids(state);
    if (format === 'json') {
      call.stdout(`${JSON.stringify(pids)}\n`);
      return 0;
    }
    call.stdout(select(await psOutput(words.length > 0 ? words : ['-ef']), pids));
    return 0;
  },
};

async function psOutput(words: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)('ps', [...words], { maxBuffer: 64 << 20 });
    return stdout;
  } catch (error) {
    throw fromSystemError(error, 'running ps');
  }
}

/** The lines about `pids`, and the heading that says in which column those are. */
function select(output: string, pids: readonly number[]): string {
  const [heading = '', ...lines] = output.split('\n');
  const column = heading.trim().split(/\s+/).indexOf('PID');
  if (column < 0) throw new KeelsonError('invalid-argument', "couldn't find PID field in ps output");
  const wanted = lines.filter((line) => pids.includes(Number(line.trim().split(/\s+/)[column] ?? 'x')));
  return `${[heading, ...wanted].join('\n')}\n`;
}

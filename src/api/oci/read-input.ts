/** Files that a command is given by name, some of which only the caller can open. */
import { statSync } from 'node:fs';
import { KeelsonError } from '../../ground/errors.ts';
import { readRegularFile } from '../../ground/read-regular-file.ts';
import { AT_FDCWD, O_CLOEXEC, O_RDONLY } from '../../kernel/constants.ts';
import { PlanBuilder } from '../../kernel/plan-builder.ts';
import type { Session } from './session.ts';

const maxInput = 16 << 20;

/** `-` is the caller's standard input; /dev/fd/N and its like are descriptors of the caller's. What may have to be waited for, the caller reads. */
export async function readInput(session: Session, file: string): Promise<string> {
  if (file === '-') return readDescriptor(session, 0);
  const path = session.path(file);
  const descriptor = /^\/(dev|proc\/self)\/fd\/\d+$/.test(file);
  if (descriptor || statSync(path, { throwIfNoEntry: false })?.isFIFO()) {
    const b = new PlanBuilder(session.host.facts.arch);
    const fd = b.doing(`opening ${file}`).sys('openat', [AT_FDCWD, descriptor ? file : path, O_RDONLY | O_CLOEXEC]);
    const { registers } = await session.host.runner.run(b.build());
    return readDescriptor(session, Number(registers[fd.reg]));
  }
  return readRegularFile(path, maxInput);
}

/** By the caller itself, a piece at a time. */
async function readDescriptor({ host }: Session, fd: number): Promise<string> {
  const size = 1 << 16;
  const parts: Buffer[] = [];
  for (let count = -1, total = 0; count !== 0; total += count) {
    if (total > maxInput) throw new KeelsonError('invalid-argument', 'the input is larger than 16 MiB');
    const b = new PlanBuilder(host.facts.arch);
    const buffer = b.doing(`reading descriptor ${fd}`).blob(size);
    const got = b.sys('read', [fd, buffer, size]);
    b.report(1, [], [buffer]);
    let bytes = Buffer.alloc(0);
    const { registers } = await host.runner.run(b.build(), {
      onReport: ({ blobs }) => {
        bytes = Buffer.from(blobs[0] ?? []);
      },
    });
    count = Number(registers[got.reg]);
    parts.push(bytes.subarray(0, count));
  }
  return Buffer.concat(parts).toString('utf8');
}

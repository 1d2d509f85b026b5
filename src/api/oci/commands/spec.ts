import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromSystemError, KeelsonError } from '../../../ground/errors.ts';
import { defaultSpec } from '../../../runtime/lifecycle/default-spec.ts';
import { formatConfig } from '../../../spec/config.ts';
import type { Command } from '../session.ts';
import { specVersion } from '../texts.ts';

export const spec: Command = {
  flags: { bundle: { kind: 'text', short: ['b'] }, rootless: { kind: 'bool' } },
  async run({ caller, host, path }, args) {
    const file = join(path(args.text('bundle') ?? '.'), 'config.json');
    if (existsSync(file)) throw new KeelsonError('already-exists', `File config.json exists. Remove it first`);
    const rootless = args.bool('rootless') ? { uid: caller.uid, gid: caller.gid } : undefined;
    try {
      writeFileSync(
        file,
        `${formatConfig(defaultSpec(specVersion, rootless, host.facts.cgroup.mode === 'unified'))}\n`,
        { mode: 0o666 },
      );
    } catch (error) {
      throw fromSystemError(error, `writing ${file}`);
    }
    return 0;
  },
};

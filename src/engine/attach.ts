import { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { attach as attachKeeper } from '../kernel/keeper.ts';
import { attachmentOf } from './attachment.ts';
import { containerEvent } from './container-events.ts';
import { containerPaths, type Parts } from './parts.ts';
import { settle } from './settle.ts';
import type { Attachment } from './types.ts';
import { running } from './with-container.ts';

/** Connects to a running container's stdio. */
export async function attach(
  parts: Parts,
  context: Context,
  reference: string,
  options: { stdin: boolean; stdout: boolean; stderr: boolean },
): Promise<Attachment> {
  const record = await running(parts, context, reference);
  if (record.state === 'paused') {
    throw new KeelsonError('conflict', `container ${record.id} is paused, unpause the container before attach`);
  }
  const stdin = options.stdin && record.spec.config.openStdin === true;
  const keeper = await attachKeeper(containerPaths(parts.paths, record.id).socket, { ...options, stdin });
  containerEvent(parts, record, 'attach');
  return attachmentOf(
    keeper,
    async (code) => {
      const settled = await settle(parts, new Context({ trace: context.trace }), record.id);
      return code ?? settled?.exitCode ?? 137;
    },
    { control: false },
  );
}

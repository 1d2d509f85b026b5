import { KeelsonError } from '../ground/errors.ts';
import type { KeeperAttachment } from '../kernel/keeper.ts';
import type { Attachment } from './types.ts';

/**
 * A keeper's connection as the engine hands it out. `settle` is called when the keeper has done its last deed, or was lost: it
 * brings the store in line and returns the exit code, so that whoever awaits `exit` finds everything as it will stay.
 */
export function attachmentOf(
  keeper: KeeperAttachment,
  settle: (exitCode: number | undefined) => Promise<number>,
  options: { control: boolean },
): Attachment {
  let detached = false;
  const exit = (async () => {
    let code: number | undefined;
    try {
      code = await keeper.exit;
      if (options.control) keeper.acknowledge();
    } catch (error) {
      if (detached) throw new KeelsonError('canceled', 'detached before the exit', { cause: error });
    }
    await keeper.closed;
    return settle(code);
  })();
  exit.catch(() => {}); // those who ask get it
  return {
    output: keeper.output,
    write: async (data) => keeper.write(data),
    closeStdin: () => keeper.closeStdin(),
    resize: (columns, rows) => keeper.resize(columns, rows),
    exit,
    async [Symbol.asyncDispose]() {
      detached = true;
      await keeper[Symbol.asyncDispose]();
    },
  };
}

import type { EngineApi } from '../../engine/types.ts';
import { isKeelsonError } from '../../ground/errors.ts';
import type { Cli } from '../cli.ts';

/** Waits until a container that is removed at its end is gone; it may be so already. */
export async function untilRemoved(cli: Cli, engine: EngineApi, id: string): Promise<void> {
  try {
    await engine.wait(cli.context, id, 'removed');
  } catch (error) {
    if (!isKeelsonError(error, 'not-found')) throw error;
  }
}

import type { EngineApi } from '../../engine/types.ts';
import type { Cli } from '../cli.ts';

/** Hands signals on to a container. One that has just ended gets no more of them, and that is no error. */
export function forwardSignals(cli: Cli, engine: EngineApi, id: string): (signal: NodeJS.Signals) => void {
  return (signal) => {
    engine.kill(cli.context, id, signal).catch((error: unknown) => {
      if (cli.options.debug) cli.stderr.line(`keelson: forwarding ${signal}: ${String(error)}`);
    });
  };
}

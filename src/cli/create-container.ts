import type { ContainerConfig, EngineApi } from '../engine/types.ts';
import type { Cli } from './cli.ts';
import { ProgressLines } from './output/progress.ts';

/**
 * Creates a container for run and create. What is pulled for it is shown on standard error, unless `quiet`, and so are the engine's
 * warnings.
 */
export async function createContainer(
  cli: Cli,
  engine: EngineApi,
  config: ContainerConfig,
  options: { readonly quiet: boolean },
): Promise<string> {
  const lines = new ProgressLines(cli.stderr);
  let pulling = false;
  cli.onProgress = (event) => {
    if (!pulling) {
      pulling = true;
      if (config.pull !== 'always') cli.stderr.line(`Unable to find image '${imageName(config.image)}' locally`);
    }
    if (!options.quiet) lines.onProgress(event);
  };
  try {
    const { id, warnings } = await engine.create(cli.context, config);
    for (const warning of warnings) cli.stderr.line(`WARNING: ${warning}`);
    return id;
  } finally {
    lines.flush();
    cli.onProgress = () => {};
  }
}

/** With the tag that is meant where there is none. */
function imageName(image: string): string {
  return /[:@][^/]*$/.test(image) ? image : `${image}:latest`;
}

import { KeelsonError } from '../../ground/errors.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { explainPlan } from '../explain/explain-plan.ts';
import { containerConfig } from '../options/container-config.ts';
import { refusedContainerFlags, runFlags } from '../options/run-flags.ts';
import { ProgressLines } from '../output/progress.ts';
import { parseFlags } from '../flags.ts';

export const command: Command = define({
  usage: 'run [OPTIONS] IMAGE [COMMAND] [ARG...]',
  about: `Print the kernel operations of a container without running it

Takes what run takes. Each line is one operation that keel would carry out: its place in the
plan, the process that does it (keel, or the one that becomes the container), the system call
with its arguments. Names with a $ are results of earlier lines; what is done on an error
other than to give up is in brackets.`,
  arity: atLeast(1),
  interspersed: false,
  flags: {},
  run: async ({ cli, args }) => {
    const [verb, ...words] = args;
    if (verb !== 'run')
      throw new KeelsonError('invalid-argument', `cannot explain ${JSON.stringify(verb)}: only "run" has a plan`);
    const {
      flags,
      given,
      args: rest,
      help,
    } = parseFlags({ ...runFlags, ...refusedContainerFlags }, words, { interspersed: false });
    if (help || rest.length === 0)
      throw new KeelsonError(
        'invalid-argument',
        'an image is needed: keelson explain run [OPTIONS] IMAGE [COMMAND] [ARG...]',
      );
    const config = containerConfig(flags, rest, given, { detach: flags.detach });
    const lines = new ProgressLines(cli.stderr);
    if (!flags.quiet) cli.onProgress = lines.onProgress;
    const engine = await cli.engine();
    const plan = await engine.explain(cli.context, config);
    lines.flush();
    cli.stdout.write(explainPlan(plan, { color: cli.stdout.isTerminal && process.env['NO_COLOR'] === undefined }));
    return 0;
  },
});

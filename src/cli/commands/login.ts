import { KeelsonError } from '../../ground/errors.ts';
import { type Command, atMost, command as define } from '../command.ts';
import { bool, string } from '../flags.ts';
import { readAll } from '../input.ts';
import { registryOf } from '../options/registry.ts';
import { ask, askSecret } from '../session/ask.ts';
import { inputIsTerminal } from '../session/terminal.ts';

export const command: Command = define({
  usage: '[OPTIONS] [SERVER]',
  about: 'Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.',
  arity: atMost(1),
  flags: {
    password: string('Password or Personal Access Token (PAT)', { short: 'p' }),
    'password-stdin': bool('Take the Password or Personal Access Token (PAT) from stdin'),
    username: string('Username', { short: 'u' }),
  },
  run: async ({ cli, flags, args }) => {
    const fromInput = flags['password-stdin'];
    let { username, password } = flags;
    if (password !== '') {
      if (fromInput)
        throw new KeelsonError(
          'invalid-argument',
          'conflicting options: cannot specify both --password and --password-stdin',
        );
      cli.stderr.line('WARNING! Using --password via the CLI is insecure. Use --password-stdin.');
    }
    if (fromInput) {
      if (username === '')
        throw new KeelsonError('invalid-argument', 'the --password-stdin option requires --username to be set');
      password = (await readAll(64 * 1024)).toString().replace(/\r?\n$/, '');
    }
    if ((username === '' || password === '') && !inputIsTerminal())
      throw new KeelsonError('invalid-argument', 'cannot perform an interactive login from a non TTY device');
    if (username === '') username = await ask(cli, 'Username: ');
    if (username === '') throw new KeelsonError('invalid-argument', 'username is required');
    if (password === '') password = await askSecret(cli, 'Password: ');
    if (password === '') throw new KeelsonError('invalid-argument', 'password is required');
    const server = registryOf(args[0]);
    const { images } = await cli.engine();
    const where = await images.registries.login(cli.context, server, { username, password });
    if (where.endsWith('.json')) {
      cli.stderr.line(`WARNING! Your credentials are stored unencrypted in '${where}'.`);
      cli.stderr.line('Configure a credential helper to remove this warning.');
    }
    cli.stdout.line('Login Succeeded');
    return 0;
  },
});

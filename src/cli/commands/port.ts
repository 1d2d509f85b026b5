import { hostAddress } from '../../api/docker/container-ports.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { type Command, between, command as define } from '../command.ts';

export const command: Command = define({
  usage: 'CONTAINER [PRIVATE_PORT[/PROTO]]',
  about: 'List port mappings or a specific mapping for the container',
  aliases: ['container port', 'port'],
  arity: between(1, 2),
  flags: {},
  run: async ({ cli, args }) => {
    const [name = '', wanted] = args;
    const engine = await cli.engine();
    const { network } = await engine.inspect(cli.context, name);
    const bound = network.ports
      .toSorted((a, b) => a.containerPort - b.containerPort || (a.protocol < b.protocol ? -1 : 1))
      .flatMap(({ hostIp, hostPort, containerPort, protocol }) =>
        (hostIp === '' ? ['0.0.0.0', '::'] : [hostIp]).map((ip) => ({
          inside: `${containerPort}/${protocol}`,
          outside: `${hostAddress(ip)}:${hostPort}`,
        })),
      );
    if (wanted === undefined) {
      for (const { inside, outside } of bound) cli.stdout.line(`${inside} -> ${outside}`);
      return 0;
    }
    const [port = '', protocol = 'tcp'] = wanted.split('/');
    if (!/^\d+$/.test(port) || Number(port) > 65535)
      throw new KeelsonError('invalid-argument', `invalid port (${wanted}): it must be a number from 0 to 65535`);
    const found = bound.filter(({ inside }) => inside === `${Number(port)}/${protocol}`);
    if (found.length === 0) throw new KeelsonError('not-found', `no public port '${wanted}' published for ${name}`);
    for (const { outside } of found) cli.stdout.line(outside);
    return 0;
  },
});

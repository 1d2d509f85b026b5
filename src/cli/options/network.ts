import type { ContainerConfig } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { parsePublish } from '../../network/parse-port.ts';
import type { ContainerValues } from './run-flags.ts';

type NetworkConfig = Pick<
  ContainerConfig,
  'network' | 'ports' | 'publishAll' | 'dns' | 'dnsSearch' | 'dnsOptions' | 'extraHosts'
>;

/** What the flags say about the container's network. */
export function networkOptions(flags: Readonly<ContainerValues>): NetworkConfig {
  const networks = [...flags.network, ...flags.net];
  if (networks.length > 1)
    throw new KeelsonError('unsupported', 'a container in several networks is not supported by keelson');
  const [network = 'default'] = networks;
  const ports = flags.publish.flatMap(parsePublish);
  return {
    // The engine knows which names are networks.
    ...(network !== 'default' && network !== '' && { network: network as 'bridge' }),
    ...(ports.length > 0 && { ports }),
    ...(flags['publish-all'] && { publishAll: true }),
    ...(flags.dns.length > 0 && { dns: flags.dns }),
    ...(flags['dns-search'].length > 0 && { dnsSearch: flags['dns-search'] }),
    ...(flags['dns-option'].length > 0 && { dnsOptions: flags['dns-option'] }),
    ...(flags['add-host'].length > 0 && { extraHosts: flags['add-host'] }),
  };
}

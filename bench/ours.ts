/** Our side of the comparisons: the command line as installed. */
const root = '/var/lib/keelson-bench/keelson';
const state = '/run/keelson-bench/keelson';

export const ownPaths = { root, run: state };
export const keelson = ['keelson', '--root', root, '--run', state] as const;

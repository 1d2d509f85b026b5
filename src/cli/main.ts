/** The command line from the sources; the built one begins in launch.ts. */
const { dispatch } = await import('./dispatch.ts');
process.exit(await dispatch(process.argv.slice(2)));

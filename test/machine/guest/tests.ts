/** Everything that runs inside the machine: one bundle, one start of Node. */
import './cgroup.ts';
import './cgroup-drivers.ts';
import './oci-cgroups.ts';
import './lifecycle.ts';
import './limits.ts';
import './network.ts';
import './rootless.ts';

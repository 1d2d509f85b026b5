/** What runs in the machine that systemd booted. */
import './systemd.ts';

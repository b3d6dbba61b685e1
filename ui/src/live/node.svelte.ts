// The node behind this window: how it starts, and its status, asked each second by the frame for all pages.
import { host, openHost, type FogDto, type RoleDto, type Startup, type StatusDto } from '$host';
import { text } from '$text';
import { ask } from './ask';
import { Poller } from './poller.svelte';

const STATUS_MS = 1_000;
const STARTUP_MS = 300;

class NodeLive {
  startup = $state.raw<Startup>({ state: 'starting' });
  readonly status = new Poller<StatusDto>(() => ask({ ask: 'status' }, 'status'), STATUS_MS);

  get fog(): FogDto | null {
    return this.status.known?.fog ?? null;
  }

  /** Whether this device may do that in its fog. */
  may(role: RoleDto): boolean {
    return this.fog?.roles.includes(role) ?? false;
  }

  /** Asks until the node is there or has failed, which is for good: the window opens it once. */
  open(): () => void {
    let stopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async () => {
      try {
        await openHost();
        this.startup = await host().startup();
      } catch (thrown) {
        const what = thrown instanceof Error ? thrown.message : String(thrown);
        this.startup = { state: 'failed', what, todo: text.startup.todo };
      }
      if (!stopped && this.startup.state === 'starting') timer = setTimeout(() => void look(), STARTUP_MS);
    };
    void look();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }
}

export const node = new NodeLive();

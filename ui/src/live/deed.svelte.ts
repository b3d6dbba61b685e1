// Something that a person sets going by a button: busy while it lasts, and its failure kept to be shown beside the button.
import type { ControlError } from '$host';
import { errorOf } from './ask';

export class Deed {
  busy = $state(false);
  error = $state.raw<ControlError | null>(null);

  /** Does it, once at a time. Tells whether it was done. */
  async run(action: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.error = null;
    try {
      await action();
      return true;
    } catch (thrown) {
      this.error = errorOf(thrown);
      return false;
    } finally {
      this.busy = false;
    }
  }
}

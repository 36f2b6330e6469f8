// Which seats and places has the visitor chosen? They are nobody's until they are held.

/// Tells `change` whenever they are other ones.
export class Choice extends EventTarget {
  #seats = new Set();
  #areas = new Map(); // places by area id

  constructor(seatsMax) {
    super();
    this.seatsMax = seatsMax;
  }

  get seats() {
    return [...this.#seats];
  }

  /// `[id, quantity]` of each area with any.
  get areas() {
    return [...this.#areas];
  }

  get size() {
    return this.#seats.size + this.areas.reduce((sum, [, quantity]) => sum + quantity, 0);
  }

  has(seat) {
    return this.#seats.has(seat);
  }

  quantityIn(area) {
    return this.#areas.get(area) ?? 0;
  }

  /// Adds a seat, or takes it away. Returns what happened: `added`, `removed` or `full`.
  toggle(seat) {
    if (this.#seats.delete(seat)) {
      this.#changed();
      return "removed";
    }
    if (this.size >= this.seatsMax) return "full";
    this.#seats.add(seat);
    this.#changed();
    return "added";
  }

  /// Sets how many places of an area are chosen, at most as many as there is room for in an order.
  /// Returns how many they are now.
  setQuantity(area, quantity) {
    const had = this.quantityIn(area);
    const now = Math.max(Math.min(quantity, this.seatsMax - this.size + had), 0);
    if (now === had) return now;
    if (now === 0) this.#areas.delete(area);
    else this.#areas.set(area, now);
    this.#changed();
    return now;
  }

  /// Takes seats away, those that were not chosen too. Returns the ones that were.
  drop(seats) {
    const dropped = seats.filter((seat) => this.#seats.delete(seat));
    if (dropped.length > 0) this.#changed();
    return dropped;
  }

  clear() {
    if (this.size === 0) return;
    this.#seats.clear();
    this.#areas.clear();
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

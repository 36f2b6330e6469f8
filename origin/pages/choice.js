// Which seats has the visitor chosen? They are nobody's until they are held.

/// Tells `change` whenever the seats are other ones.
export class Choice extends EventTarget {
  #seats = new Set();

  constructor(seatsMax) {
    super();
    this.seatsMax = seatsMax;
  }

  get seats() {
    return [...this.#seats];
  }

  get size() {
    return this.#seats.size;
  }

  has(seat) {
    return this.#seats.has(seat);
  }

  /// Adds a seat, or takes it away. Returns what happened: `added`, `removed` or `full`.
  toggle(seat) {
    if (this.#seats.delete(seat)) {
      this.#changed();
      return "removed";
    }
    if (this.#seats.size >= this.seatsMax) return "full";
    this.#seats.add(seat);
    this.#changed();
    return "added";
  }

  /// Takes seats away, those that were not chosen too. Returns the ones that were.
  drop(seats) {
    const dropped = seats.filter((seat) => this.#seats.delete(seat));
    if (dropped.length > 0) this.#changed();
    return dropped;
  }

  clear() {
    this.drop(this.seats);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

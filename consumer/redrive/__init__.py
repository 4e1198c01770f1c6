"""Redrive: dead letters once more to the processor that failed, and gone from the store once it has not.

`lettered` makes events of letters again; `adoption` finds out who wants an event that no processor had;
`running` runs letters, line by line; `previewing` says what would be done; `pace` and `right` say when an
attempt may begin.

What is promised. Letters of one processor and object run one after the other, in the order in which they were
put aside; after one that fails, those behind it stay. A letter is removed only after its success, so what is
interrupted loses nothing; what was interrupted between the success and the removal runs again, with the
idempotency key that it had before, and had in the live attempt.

One redrive at a time has the right to a store: with SQLite by the machine's clock, with blobs by the
service's own. It is renewed while attempts run. One whose renewal fails begins nothing new; what it began may
still run when another redrive gets the right, a minute later at the earliest. An event hub keeps nobody from
redriving it twice at once.
"""

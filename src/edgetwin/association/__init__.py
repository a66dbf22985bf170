"""Digital twin placement and migration in 6G edge networks (Lu, Maharjan, Zhang): which servers open, which twin lives where."""

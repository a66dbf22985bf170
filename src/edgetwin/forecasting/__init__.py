"""Where will it be next: forecasters of movement, from the mean step to a recurrent network, with the error each expects."""

"""What Orbax asks Google's client of a bucket: whether its folders are more than names."""


class Client:
    def get_bucket(self, name: str) -> object:
        """A bucket of which nothing is known: its folders are names."""
        return object()

"""A number with its noun, for messages."""

__all__ = ["counted"]


def counted(number: int, noun: str = "image") -> str:
    """Return the number and the noun, in the plural where the number is not 1.

    Example:
        >>> counted(1), counted(5), counted(0, "frame")
        ('1 image', '5 images', '0 frames')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""What a job has made, as its page shows it: a letter, pictures, deliveries. Read from what is kept anyway.

Public: `letter.letter_of`, `pictures.pictures_of`, `deliveries.deliveries_of`.
"""
